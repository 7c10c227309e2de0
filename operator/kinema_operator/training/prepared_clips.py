"""Reads the result of preparing a run's recorded clips from the bucket. Blocks."""

from __future__ import annotations

from kinema_api import launch, layout
from kinema_api.dataset_status import dataset_status
from kinema_api.errors import InvalidManifest, ObjectMissing, ObjectTooLarge
from kinema_api.objectstore import ObjectStore
from kinema_api.prepare import MAX_RESULT_BYTES
from kinema_operator.training.observed import PreparedSeen
from kinema_operator.training.uri import uri
from kinema_operator.training.view import View


def look(store: ObjectStore, view: View) -> PreparedSeen:
    """What there is of the current run's datasets.

    Raises:
        StorageError: the store cannot be used now.
    """
    run, attempt = view.status.run, view.status.attempt
    config = launch.prepare_config(view.training, run)
    try:
        data = store.get(config.result, MAX_RESULT_BYTES)
        report = uri(store.location, view.run_prefix + layout.PREPARED_PAGE)
        return PreparedSeen(run, attempt, dataset_status(config, data, report))
    except ObjectMissing:
        return PreparedSeen(run, attempt)
    except (InvalidManifest, ObjectTooLarge) as error:
        return PreparedSeen(run, attempt, problem=str(error))

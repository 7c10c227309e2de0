"""The phase Preparing of a run on this machine: the same process as in a preparing pod."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torchx.specs import macros

from kinema_api import launch, layout
from kinema_api.dataset_status import dataset_status
from kinema_api.errors import InvalidManifest, ObjectMissing, ObjectTooLarge, StorageError
from kinema_api.objectstore import ObjectStore
from kinema_api.prefix_uri import bucket_and_prefix
from kinema_api.prepare import MAX_RESULT_BYTES
from kinema_api.training import VideoModelTraining
from kinema_jobs.local.ending import run_to_end
from kinema_jobs.local.site import Folders, place
from kinema_jobs.train.failures import BadConfiguration, StorageFailure, TrainingFailure


def with_dataset(
    training: VideoModelTraining,
    run: int,
    store: ObjectStore,
    site: launch.Site,
    folders: Folders,
    tell: Callable[[dict[str, Any]], None],
) -> VideoModelTraining:
    """The training, whose status names what its data.videos became; unchanged without videos.

    Raises:
        BadConfiguration: a folder lies in another bucket.
        TrainingFailure: the clips cannot be prepared; with the failure class of the process.
    """
    if not training.spec.data.videos:
        return training
    for clips in training.spec.data.videos:
        if bucket_and_prefix(clips.uri)[0] != store.location.bucket:
            raise BadConfiguration(
                f"{clips.uri} is not in the run's own bucket: copy the clips to "
                f"{place(store, bucket_and_prefix(clips.uri)[1])} and correct data.videos"
            )
    own = Folders(folders.work / "preparation")
    tell({"event": "preparing", "message": f"the recorded clips are being prepared; logs in {own.logs}"})
    config = launch.prepare_config(training, run)
    here = replace(site, termination_log=str(own.termination_message(macros.replica_id)))
    run_to_end(launch.preparation_app(config, here, 1), own, launch.PREPARER_ROLE, "preparing the clips")
    page = place(store, layout.run_prefix(config.namespace, config.name, config.uid, run) + layout.PREPARED_PAGE)
    try:
        found = dataset_status(config, store.get(config.result, MAX_RESULT_BYTES), page)
    except (InvalidManifest, ObjectMissing, ObjectTooLarge) as error:
        raise TrainingFailure(
            f"the clips were prepared without a result: {error}; see the logs in {own.logs}"
        ) from None
    except StorageError as error:
        raise StorageFailure(str(error)) from None
    reused = all(made.reused for made in found.datasets)
    again = ", as they were prepared before" if reused else ""
    message = f"{found.samples:,} clips{again}; the report is {page}"
    tell({"event": "prepared", "message": message, "samples": found.samples, "reused": reused})
    return training.model_copy(update={"status": training.status.model_copy(update={"dataset": found})})

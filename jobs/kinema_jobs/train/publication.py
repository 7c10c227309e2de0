"""`python -m kinema_jobs.train.publication --config JSON`: the process in a publisher's pod.

Reading every byte of a large model takes minutes, too long for the operator. Each file is hashed in the bucket,
exactly the hashed version is copied to models/<digest>/, and the manifest is written last. Publishing again, or by two
pods at once, is safe: both write the same bytes.

Exit codes: 0 when the manifest is there, EXPORT_BROKEN_EXIT when the export can never be published, else the code of
the failure class (kinema_api.wire), with the last word in the termination log.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from kinema_api import layout
from kinema_api.errors import BrokenManifest, ObjectMissing, StaleWrite
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.run import PublicationConfig
from kinema_api.wire import EXIT_CODES, EXPORT_BROKEN_EXIT, TerminationMessage
from kinema_jobs.train.command_line import end_on_sigterm, read_config
from kinema_jobs.train.failures import termination_message, write_termination_message
from kinema_jobs.train.settings import PodSettings
from kinema_jobs.train.storage import RetryPolicy
from kinema_jobs.train.torch_logs import LOG_FORMAT

REMEDY: Final = "the model is exported again"

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Publish one model."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    end_on_sigterm()
    try:
        config = read_config(PublicationConfig, "kinema_jobs.train.publication", __doc__, argv)
        settings = PodSettings.from_environment()
        patience = RetryPolicy(settings.storage_patience_seconds)
        publish(settings.open_store(), config.export, config.model_digest, patience)
    except BrokenManifest as error:
        write_termination_message(TerminationMessage(failure_class="unknown", message=str(error)))
        return EXPORT_BROKEN_EXIT
    except Exception as error:
        logger.info("Publication failed", exc_info=True)
        word = termination_message(error, None)
        write_termination_message(word)
        return EXIT_CODES[word.failure_class]
    return 0


def publish(store: ObjectStore, export: str, digest: str, patience: RetryPolicy) -> None:
    """Copy the model below `export` to models/<digest>/. Blocks.

    Raises:
        BrokenManifest: the export does not match its manifest, or is another model by now.
        StorageFailure: the store stayed away.
    """
    target = layout.model_prefix(digest)
    if patience(lambda: store.stat(target + layout.MANIFEST)):
        return
    key = export + layout.MANIFEST
    try:
        manifest = Manifest.from_bytes(patience(lambda: store.get(key)), key)
    except ObjectMissing:
        raise BrokenManifest(f"{key} is missing; {REMEDY}") from None
    if manifest.kind != "model" or manifest.digest() != digest:
        raise BrokenManifest(f"{key} is not the manifest of the model {digest}; {REMEDY}")
    for file in manifest.files:
        logger.info("%s, %d bytes", file.name, file.bytes)
        _copy(store, export + file.name, target + file.name, (file.sha256, file.bytes), patience)
    patience(lambda: store.put(target + layout.MANIFEST, manifest.to_bytes(), "application/json"))


def _copy(store: ObjectStore, source: str, target: str, wanted: tuple[str, int], patience: RetryPolicy) -> None:
    try:
        found = patience(lambda: store.stat(source))
        if found is None:
            raise BrokenManifest(f"{source} is named by the export's manifest and missing; {REMEDY}")
        if patience(lambda: store.sha256(source)) != wanted:
            raise BrokenManifest(f"{source} does not have the sha256 of its manifest; {REMEDY}")
        # Copy exactly the version that was checked: trainers may still write to the training's folder.
        patience(lambda: store.copy(source, target, if_etag=found.etag))
    except (ObjectMissing, StaleWrite):
        raise BrokenManifest(f"{source} was changed while it was published; {REMEDY}") from None


if __name__ == "__main__":
    sys.exit(main())

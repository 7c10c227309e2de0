"""`python -m kinema_jobs.prepare --config JSON`: the process in a preparing pod.

Exit codes: 0 when the result is committed, whoever committed it, else the code of the failure class (kinema_api.wire),
with the last word in the termination log.
"""

from __future__ import annotations

import logging
import sys

from kinema_api.prepare import PrepareConfig
from kinema_api.wire import EXIT_CODES
from kinema_jobs.memory import is_out_of_memory
from kinema_jobs.train.command_line import end_on_sigterm, read_config
from kinema_jobs.train.failures import (
    BadConfiguration,
    MemoryExhausted,
    TrainingFailure,
    termination_message,
    write_termination_message,
)


def main(argv: list[str] | None = None) -> int:
    """Prepare the clips of one run."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    end_on_sigterm()
    try:
        _prepare(argv)
    except Exception as error:
        logging.getLogger(__name__).info("Preparing failed", exc_info=not isinstance(error, TrainingFailure))
        word = termination_message(meant(error), None)
        write_termination_message(word)
        return EXIT_CODES[word.failure_class]
    return 0


def _prepare(argv: list[str] | None) -> None:
    from kinema_jobs.prepare.settings import PrepareSettings

    config = read_config(PrepareConfig, "kinema_jobs.prepare", __doc__, argv)
    check(config)
    settings = PrepareSettings.from_environment()
    # Imported late: a bad configuration is refused before torch is loaded.
    import cv2

    from kinema_jobs.prepare.bucket import Bucket
    from kinema_jobs.prepare.job import Stores, prepare
    from kinema_jobs.prepare.progress import Progress
    from kinema_jobs.train.storage import RetryPolicy
    from kinema_jobs.train.telemetry import serve

    cv2.setNumThreads(1)
    progress = Progress()
    bucket = Bucket(settings.open_store(), RetryPolicy(settings.storage_patience_seconds), settings.weak_fence)
    server = serve(progress, settings.progress_port)
    try:
        prepare(config, settings, Stores(bucket, bucket), progress)
    finally:
        server.shutdown()


def check(config: PrepareConfig) -> None:
    """Raises BadConfiguration where no clip could ever be kept."""
    for clips in config.videos:
        least, most = clips.filters.min_frames, config.target.frames
        if least > most or config.target.cell[0] > most:
            raise BadConfiguration(
                f"filters.minFrames of {clips.uri} is {least} and clips of this model have at most {most} frames: "
                "lower minFrames"
            )


def meant(error: Exception) -> Exception:
    """The error with the advice that helps here."""
    if is_out_of_memory(error) and not isinstance(error, TrainingFailure):
        return MemoryExhausted("memory ran out while clips were prepared: raise worker.resources memory")
    return error


if __name__ == "__main__":
    sys.exit(main())

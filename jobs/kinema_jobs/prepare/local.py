"""`python -m kinema_jobs.prepare.local`: prepares a folder of this machine; events as JSON lines on standard output.

The folder is read as a store and the other one written as a store, so the job is that of a cluster.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import cv2

from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import StoreLocation
from kinema_api.prepare import PrepareConfig, PrepareProgress
from kinema_api.wire import EXIT_CODES
from kinema_jobs.prepare.__main__ import check, meant
from kinema_jobs.prepare.bucket import Bucket
from kinema_jobs.prepare.job import Stores, prepare
from kinema_jobs.prepare.progress import Progress
from kinema_jobs.prepare.settings import PrepareSettings
from kinema_jobs.train.command_line import end_on_sigterm
from kinema_jobs.train.failures import termination_message
from kinema_jobs.train.storage import RetryPolicy

PATIENCE_SECONDS = 5.0


def main(argv: list[str] | None = None) -> int:
    """Prepare one folder."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    end_on_sigterm()
    options = argparse.ArgumentParser(prog="kinema_jobs.prepare.local", description=__doc__)
    options.add_argument("--folder", type=Path, required=True, help="folder of videos")
    options.add_argument("--out", type=Path, required=True, help="folder for the dataset")
    options.add_argument("--config", required=True, help="a kinema_api.prepare.PrepareConfig as JSON")
    given = options.parse_args(argv)
    try:
        config = PrepareConfig.model_validate_json(given.config)
        check(config)
        cv2.setNumThreads(1)
        told = _prepared(config, given.folder.resolve(), given.out.resolve())
    except Exception as error:
        word = termination_message(meant(error), None)
        _tell(error=word.message)
        return EXIT_CODES[word.failure_class]
    _tell(event="prepared", **told)
    return 0


def _prepared(config: PrepareConfig, folder: Path, out: Path) -> dict[str, object]:
    out.mkdir(parents=True, exist_ok=True)
    source, target = _bucket(folder.parent), _bucket(out)
    # The folder may have changed since the last call, of which everything else is used again.
    target.store.delete(config.result)
    settings = PrepareSettings.local(out)
    stores = Stores(source, target, f"{folder.name}/")
    result = prepare(config, settings, stores, Progress(_progress))
    (dataset,) = result.datasets
    return {
        **dataset.model_dump(mode="json"),
        "folder": str(out / dataset.prefix),
        "report": str(out / result.report),
    }


def _bucket(folder: Path) -> Bucket:
    """A folder as a store."""
    location = StoreLocation(endpoint=f"file://{folder.parent}", bucket=folder.name or ".")
    return Bucket(FolderStore(location), RetryPolicy(PATIENCE_SECONDS))


def _progress(now: PrepareProgress) -> None:
    _tell(event="progress", **now.model_dump())


def _tell(**event: object) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())

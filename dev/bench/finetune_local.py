"""The trainings of `make bench NAME=finetune`, as the product's processes on this machine, with a folder as bucket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.finetune_material import Video, put
from kinema_api import layout
from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import StoreLocation
from kinema_api.prepare import PrepareResult
from kinema_api.training import VideoModelTraining
from kinema_dataset.source import DatasetSource
from kinema_jobs.local.run import UID, LocalTraining, run_local
from kinema_jobs.prepare.dataset_reader import StoreReader
from kinema_model.source import Clip

BUCKET = "kinema"
CLIPS = f"s3://{BUCKET}/inputs/default/clips/"
_CACHE = 1 << 28


class Bench:
    """A working folder with a bucket, in which the base is kept for the next call."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.location = StoreLocation(endpoint=f"file://{work / 'store'}", bucket=BUCKET)
        self.bucket.mkdir(parents=True, exist_ok=True)

    @property
    def bucket(self) -> Path:
        """The bucket as a folder."""
        return self.work / "store" / BUCKET

    def model(self, digest: str) -> Path:
        """The folder of a published model."""
        return self.bucket / layout.model_prefix(digest)

    def put(self, sources: list[Video]) -> None:
        """Lay the sources where trainings look for them."""
        put(sources, self.bucket / "inputs/default/clips")

    def base(self, spec: dict[str, Any]) -> str:
        """The digest of the model that the others begin with; it is trained once for each code and spec."""
        kept = self.work / f"base-{_digest_of_code(spec)}"
        if not kept.is_file() or not self.model(kept.read_text()).is_dir():
            kept.write_text(self.train(_training("base", spec)))
        return kept.read_text()

    def train(self, training: VideoModelTraining) -> str:
        """The digest of the model that a training publishes."""
        told = {"step": 0}

        def tell(event: dict[str, Any]) -> None:
            step = event.get("step", 0)
            if event["event"] != "progress" or step >= told["step"] + 25:
                told["step"] = step
                print(f"{training.metadata.name}: {event['event']} {step or ''} {event.get('loss', '')}", flush=True)

        return run_local(LocalTraining(training, self.work / training.metadata.name, self.location), tell)

    def tuned(self, name: str, spec: dict[str, Any]) -> str:
        """The digest of a model that is trained on the clips at CLIPS, which are prepared first."""
        return self.train(_training(name, spec))

    def clips(self, name: str) -> Sequence[Clip]:
        """The clips that the newest run of a training was shown."""
        prefix = layout.training_prefix("default", name, UID)
        newest = max((self.bucket / prefix).glob(f"run-*/{layout.PREPARED}"))
        (dataset,) = PrepareResult.model_validate_json(newest.read_bytes()).datasets
        reader = StoreReader(partial(FolderStore, self.location), dataset.prefix)
        source = DatasetSource(reader, self.work / "cache", _CACHE)
        return source.clips(range(len(source)))


def _training(name: str, spec: dict[str, Any]) -> VideoModelTraining:
    metadata = {"name": name, "namespace": "default", "uid": UID, "generation": 1}
    return VideoModelTraining.parse({"metadata": metadata, "spec": spec})


def _digest_of_code(spec: dict[str, Any]) -> str:
    """Of the spec and of all that decides what is learnt from it."""
    import kinema_model
    import kinema_world

    whole = hashlib.sha256(repr(sorted(spec.items())).encode())
    for package in (kinema_model, kinema_world):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let the processes that are started compute with one thread each."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before

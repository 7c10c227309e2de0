"""The model that a run begins with, fetched file by file and verified by its digest.

All processes of a node share a folder, so each file is fetched once: a run that goes on from a checkpoint needs the
config alone, and reads the weights only where a checkpoint holds nothing but adapters.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from torch import Tensor

from kinema_api.errors import BrokenManifest, ObjectMissing, ObjectTooLarge
from kinema_api.finetune import RunBase
from kinema_api.layout import MANIFEST
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore
from kinema_api.run import RunConfig
from kinema_jobs.errors import ModelUnusable
from kinema_jobs.model_folder import check_file, check_name
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.settings import PodSettings
from kinema_jobs.train.storage import RetryPolicy
from kinema_model.artefact import load_model
from kinema_model.config import MODEL_FILE, ModelConfig
from kinema_model.errors import ModelError
from kinema_model.text.reading import READING_FILE, known_words

_REMEDY: Final = "correct spec.model.initFrom, or publish the base again, and set a new runId"
_UNREADABLE: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Base:
    """The files of a base below `folder`; `connect` opens the store, when the first file is fetched."""

    def __init__(self, base: RunBase, connect: Callable[[], ObjectStore], patience: RetryPolicy, folder: Path) -> None:
        self._base, self._connect, self._patience = base, connect, patience
        self._folder = folder
        self._store: ObjectStore | None = None

    @classmethod
    def of(cls, config: RunConfig, settings: PodSettings, scratch: Path) -> Self | None:
        """The base of a run, whose files are kept below `scratch`; None: it begins at random."""
        if config.base is None:
            return None
        patience = RetryPolicy(settings.storage_patience_seconds)
        return cls(config.base, settings.open_store, patience, scratch / "base")

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of its manifest."""
        return self._base.digest

    def config(self) -> ModelConfig:
        """The base's config; one small file is fetched.

        Raises:
            BadConfiguration: the base is missing, damaged, or no model of Kinema.
            StorageFailure: the object store stayed away.
        """
        with self._one_at_a_time(), _as_bad_configuration():
            manifest = self._manifest()
            if all(file.name != MODEL_FILE for file in manifest.files):
                raise ModelUnusable(f"{self._base.prefix} has no {MODEL_FILE}: it is no model that Kinema trained")
            return ModelConfig.from_file(self._fetched(manifest, MODEL_FILE))

    def weights(self) -> dict[str, Tensor]:
        """Its published weights by the names of a `VideoDenoiser`, on the CPU. Raises as `config`."""
        with self._one_at_a_time(), _as_bad_configuration():
            manifest = self._manifest()
            for file in manifest.files:
                self._fetched(manifest, file.name)
            return load_model(self._folder).model.state_dict()

    def words(self) -> frozenset[str]:
        """Words of the captions that it was trained on; none where it does not tell. Raises as `config`."""
        with self._one_at_a_time(), _as_bad_configuration():
            manifest = self._manifest()
            if all(file.name != READING_FILE for file in manifest.files):
                return frozenset()
            self._fetched(manifest, READING_FILE)
            return known_words(self._folder) or frozenset()

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Let one process of the node fetch; the others find its files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _manifest(self) -> Manifest:
        path = self._folder / MANIFEST
        if not path.is_file():
            self._get(MANIFEST, path)
        manifest = Manifest.from_bytes(path.read_bytes(), self._base.prefix + MANIFEST)
        if manifest.digest() != self._base.digest:
            raise ModelUnusable(f"the model in {self._base.prefix} is not {self._base.digest}: it was replaced")
        return manifest

    def _fetched(self, manifest: Manifest, name: str) -> Path:
        """A file of the base, as its manifest says; verified before it has its name."""
        path = self._folder / name
        if not path.is_file():
            check_name(name)
            if path.suffix in _UNREADABLE:
                raise ModelUnusable(f"{name} is a pickle, which can run code when it is read: use safetensors")
            promised = next(file for file in manifest.files if file.name == name)
            part = self._folder / f".part-{os.getpid()}"
            try:
                self._get(name, part, promised)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
        return path

    def _get(self, name: str, path: Path, promised: ManifestFile | None = None) -> None:
        if self._store is None:
            self._store = self._connect()
        store, key = self._store, self._base.prefix + name
        if promised is None:
            self._patience(lambda: store.get_file(key, path))
            return
        self._patience(lambda: store.get_file(key, path, promised.bytes))
        check_file(path, promised)


@contextmanager
def _as_bad_configuration() -> Iterator[None]:
    """What is wrong with a base is for whoever chose it to mend: no attempt after this one would get further."""
    try:
        yield
    except (ModelUnusable, ModelError, BrokenManifest, ObjectMissing, ObjectTooLarge) as error:
        raise BadConfiguration(f"the base cannot be used ({str(error).rstrip('.')}): {_REMEDY}") from None

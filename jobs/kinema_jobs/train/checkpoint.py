"""Checkpoints: each rank writes and uploads its part; rank 0 commits them by changing the attempt's head last.

Each rank has a scratch folder of its own, so several on one node neither write, list nor fetch each other's files.

Format: torch.distributed.checkpoint (DCP), which loads into any world size.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint.state_dict_loader as dcp_loader
import torch.distributed.checkpoint.state_dict_saver as dcp_saver
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter

from kinema_api import layout
from kinema_api.base import utc_now
from kinema_api.errors import BrokenManifest, ObjectMissing, ObjectTooLarge
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore
from kinema_api.run import RunConfig
from kinema_api.wire import CommittedCheckpoint
from kinema_jobs.model_folder import sha256_of
from kinema_jobs.rendezvous.errors import Superseded
from kinema_jobs.train import resume
from kinema_jobs.train.finite import require_finite
from kinema_jobs.train.group import Group
from kinema_jobs.train.head import AttemptHead, RoundTaken, Start
from kinema_jobs.train.storage import RetryPolicy

logger = logging.getLogger(__name__)


class Checkpoints:
    """Writes and reads the checkpoints of one attempt; files are staged below `scratch`."""

    def __init__(
        self,
        config: RunConfig,
        group: Group,
        store: ObjectStore,
        patience: RetryPolicy,
        scratch: Path,
        *,
        weak_fence: bool = False,
    ) -> None:
        self._config = config
        self._group = group
        self._store = store
        self._patience = patience
        self._scratch = scratch / f"rank-{group.local_rank}"
        self.head = AttemptHead(store, config.prefix, group.place, patience, weak=weak_fence)

    def claim(self) -> Start:
        """Rank 0: make this round the only one that may commit; returns what the attempt has committed.

        Raises as `AttemptHead.claim`, once the rendezvous knows what this round has found out.
        """
        try:
            return self.head.claim()
        except RoundTaken as error:
            self._group.outdated(error.floor)
            raise
        except Superseded:
            self._group.retire()
            raise

    def candidates(self, committed: Sequence[str]) -> list[str]:
        """Prefixes of what this round may start from, best first; `committed` as in Start."""
        elders = self._patience(lambda: resume.elders(self._store, self._config.resume_from))
        return resume.candidates(committed, self._config.resume_from, elders)

    def save(self, state: dict[str, Any], step: int, samples: int) -> CommittedCheckpoint:
        """Commit `state` as it is after `step` steps, which took so many samples; all ranks call this at the same step.

        Raises:
            NumericsFailure: the state is not finite on some rank, and nothing was written.
            StaleRound: a newer round exists, and nothing was committed.
            StorageFailure: the object store stayed away.
        """
        require_finite(state, step, self._group)
        prefix = layout.checkpoint_prefix(self._config.prefix, step, self._group.place.number)
        folder = self._folder(prefix)
        shutil.rmtree(folder, ignore_errors=True)
        writer = FileSystemWriter(folder, sync_files=False)
        dcp_saver.save(state, storage_writer=writer, process_group=self._group.control)
        own = [self._upload(prefix, path) for path in sorted(folder.iterdir())]
        files = tuple(file for part in self._group.gather(own) for file in part)
        committed = self._commit(prefix, step, samples, files) if self._group.rank == 0 else None
        committed = self._group.broadcast(committed)
        assert committed is not None
        self._forget_all_but(folder)
        return committed

    def manifest(self, kind: Any, step: int, samples: int, files: tuple[ManifestFile, ...]) -> Manifest:
        """The manifest of files that this round has written."""
        return Manifest(
            kind=kind,
            files=tuple(sorted(files, key=lambda f: f.name)),
            run=self._config.run,
            attempt=self._config.attempt,
            round=self._group.place.number,
            step=step,
            world_size=self._group.world_size,
            samples=samples,
            created=utc_now(),
        )

    def _commit(self, prefix: str, step: int, samples: int, files: tuple[ManifestFile, ...]) -> CommittedCheckpoint:
        manifest = self.manifest("checkpoint", step, samples, files)
        with self._held():
            self.head.commit_checkpoint(prefix, manifest)
        return CommittedCheckpoint(step=step, prefix=prefix, digest=manifest.digest(), time=time.time())

    def commit_export(self, prefix: str, manifest: Manifest) -> None:
        """Commit the finished model below `prefix`, unless this round is over (StaleRound)."""
        with self._held():
            self.head.commit_export(prefix, manifest)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Ask the rendezvous first: it knows of a newer round before the bucket does."""
        self._group.require_current()
        try:
            yield
        except Superseded:
            self._group.retire()
            raise

    def upload(self, prefix: str, folder: Path) -> tuple[ManifestFile, ...]:
        """Upload a folder's files."""
        return tuple(self._upload(prefix, path) for path in sorted(folder.iterdir()))

    def _upload(self, prefix: str, path: Path) -> ManifestFile:
        self._patience(lambda: self._store.put_file(prefix + path.name, path))
        return ManifestFile(name=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)

    def read_manifest(self, prefix: str) -> Manifest | None:
        """The manifest below `prefix`, or None; BrokenManifest when it cannot be read."""
        key = prefix + layout.MANIFEST
        try:
            return self._patience(lambda: Manifest.read(self._store, key))
        except ObjectMissing:
            return None

    def fetch(self, prefix: str) -> Manifest:
        """Download a checkpoint's files and compare each with its digest.

        Raises:
            BrokenManifest: there is no readable manifest, or a file is missing or differs.
            StorageFailure: the object store stayed away.
        """
        manifest = self.read_manifest(prefix)
        if manifest is None:
            raise BrokenManifest(f"{self._store.uri(prefix)} has no manifest; the run resumes from an older checkpoint")
        folder = self._folder(prefix)
        folder.mkdir(parents=True, exist_ok=True)
        for file in manifest.files:
            self._fetch_file(prefix, folder / file.name, file)
        return manifest

    def fetch_together(self, prefix: str) -> Manifest | None:
        """Like `fetch`, on every rank; None on all ranks if it is incomplete on one."""
        manifest, torn = None, ""
        try:
            manifest = self.fetch(prefix)
        except BrokenManifest as error:
            torn = str(error)
        found = [why for why in self._group.gather(torn) if why]
        if found and self._group.rank == 0:
            logger.warning("incomplete checkpoint: %s", found[0])
        return None if found else manifest

    def load(self, prefix: str, state: dict[str, Any]) -> None:
        """Fill `state` from a checkpoint that was fetched."""
        dcp_loader.load(state, storage_reader=FileSystemReader(self._folder(prefix)), no_dist=True)

    def _fetch_file(self, prefix: str, path: Path, file: ManifestFile) -> None:
        if path.is_file() and sha256_of(path) == file.sha256:
            return  # written here before the round changed
        try:
            self._patience(lambda: self._store.get_file(prefix + file.name, path, file.bytes))
        except ObjectMissing:
            raise BrokenManifest(f"{prefix}{file.name} is missing; the run resumes from an older checkpoint") from None
        except ObjectTooLarge:
            raise BrokenManifest(
                f"{prefix}{file.name} is longer than it was; the run resumes from an older checkpoint"
            ) from None
        if sha256_of(path) != file.sha256:
            path.unlink()
            raise BrokenManifest(
                f"{prefix}{file.name} differs from its digest; the run resumes from an older checkpoint"
            )

    def _folder(self, prefix: str) -> Path:
        return self._scratch / "checkpoints" / hashlib.sha256(prefix.encode()).hexdigest()[:16]

    def _forget_all_but(self, kept: Path) -> None:
        for folder in self._scratch.glob("checkpoints/*"):
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)

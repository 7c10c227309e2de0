"""The head of an attempt, as a round uses it: claimed before the first step, required for each commit.

Rank 0 of a round writes the round's number and token into the attempt's head (`kinema_api.head`); the first round of a
rendezvous service writes that service too. From then on no other round can commit: each commit is a conditional write
over the head that this round has written. Imports no torch.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.errors import StaleWrite
from kinema_api.head import Head, VersionedHead
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_jobs.rendezvous.errors import StaleRound, Superseded
from kinema_jobs.rendezvous.questions import Place
from kinema_jobs.train.failures import AttemptOver
from kinema_jobs.train.fence import Fence
from kinema_jobs.train.storage import RetryPolicy

_OVER: Final = "the attempt is over and has a successor: it commits nothing any more"


class RoundTaken(StaleRound):
    """The attempt has had a round of this number: the group needs a higher one."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"round {floor} exists already: this group restarts with a higher number")
        self.floor = floor


@dataclass(frozen=True)
class Start:
    """What an attempt has committed when a round begins."""

    exported: bool
    """The finished model is committed: there is nothing left to do."""
    checkpoints: tuple[str, ...] = ()
    """Prefixes of what is committed, newest first."""


class AttemptHead:
    """Rank 0's side of the head; `weak` as in kinema_api.head.write."""

    def __init__(self, store: ObjectStore, attempt: str, place: Place, patience: RetryPolicy, *, weak: bool) -> None:
        self._store = store
        self._attempt = attempt
        self._place = place
        self._patience = patience
        self._fence = Fence(store, patience, weak)
        self._seen = VersionedHead(Head(), None)
        self._lineage: tuple[str, ...] = ()

    def claim(self) -> Start:
        """Make this round the only one that may commit.

        Raises:
            Superseded: a newer rendezvous service holds the attempt.
            RoundTaken: another round had this number or a higher one.
            AttemptOver: the control plane has closed the attempt.
            StorageFailure: the object store stayed away, or cannot fence.
            BrokenManifest: the head cannot be read.
        """
        while True:
            self._seen = self._patience(lambda: heads.adopt(self._store, self._attempt))
            head = self._seen.head
            if head.export:
                return Start(exported=True)
            if not self._holds(head):
                self._require_claimable(head)
                with suppress(StaleWrite):
                    self._write(self._claimed(head))
                continue
            self._lineage = head.checkpoints
            return Start(exported=False, checkpoints=tuple(self._attempt + folder for folder in head.checkpoints))

    def goes_on_from(self, prefix: str | None) -> None:
        """Drop checkpoints newer than the one that this round starts from; the next commit writes that."""
        folder = (prefix or "").removeprefix(self._attempt)
        own = self._seen.head.checkpoints
        self._lineage = own[own.index(folder) :] if folder in own else ()

    def commit_checkpoint(self, prefix: str, manifest: Manifest) -> None:
        """Commit a checkpoint whose files lie below `prefix`. Raises as `require` does."""
        self._put_manifest(prefix, manifest)
        folders = (prefix.removeprefix(self._attempt), *self._lineage)[: heads.MAX_CHECKPOINTS]
        self._commit(checkpoints=folders)
        self._lineage = folders

    def commit_export(self, prefix: str, manifest: Manifest) -> None:
        """Commit the finished model whose files lie below `prefix`. Raises as `require` does."""
        self._put_manifest(prefix, manifest)
        self._commit(export=prefix.removeprefix(self._attempt))

    def require(self) -> None:
        """Check that this round still holds the attempt.

        Raises:
            Superseded: a newer rendezvous service holds it.
            StaleRound: a newer round does.
            AttemptOver: the control plane has closed it.
            StorageError: the store cannot be asked now.
            BrokenManifest: the head cannot be read.
        """
        found = heads.read(self._store, self._attempt)
        if found is None:
            raise StaleRound("the head of the attempt was deleted: this round commits nothing any more")
        self._require_held(found.head)

    def _holds(self, head: Head) -> bool:
        mine = (self._place.service, self._place.number, self._place.token)
        return not head.closed and (head.service, head.round, head.token) == mine

    def _require_held(self, head: Head) -> None:
        if self._holds(head):
            return
        if head.closed:
            raise AttemptOver(_OVER)
        if head.service != self._place.service:
            raise Superseded(f"rendezvous {self._place.service} is superseded: epoch {head.epoch} belongs to another")
        raise StaleRound(f"round {self._place.number} is over (now {head.round}): nothing of it is committed any more")

    def _require_claimable(self, head: Head) -> None:
        place = self._place
        if head.closed:
            raise AttemptOver(_OVER)
        if place.service in head.former or (place.service != head.service and place.generation < head.generation):
            raise Superseded(f"rendezvous {place.service} is superseded: epoch {head.epoch} belongs to a newer one")
        if place.number <= head.round:
            raise RoundTaken(head.round)

    def _claimed(self, head: Head) -> Head:
        place = self._place
        mine = {"counter": head.counter + 1, "round": place.number, "token": place.token}
        if head.service != place.service:
            former = (head.service, *head.former) if head.service else head.former
            mine |= {
                "epoch": head.epoch + 1,
                "service": place.service,
                "generation": place.generation,
                "former": former[: heads.MAX_FORMER],
            }
        return head.model_copy(update=mine)

    def _put_manifest(self, prefix: str, manifest: Manifest) -> None:
        # The head decides; this check only avoids a manifest that no head names.
        self._patience(self.require)
        key = prefix + layout.MANIFEST
        try:
            self._fence.put(key, manifest.to_bytes())
        except StaleWrite:
            # A number belongs to one round: no other client should have written here.
            raise StaleRound(f"{key} was written by another client: this round commits nothing") from None

    def _commit(self, **fields: object) -> None:
        head = self._seen.head
        try:
            self._write(head.model_copy(update={"counter": head.counter + 1, **fields}))
        except StaleWrite:
            self._patience(self.require)
            raise StaleRound("the head of the attempt was changed by another client: nothing is committed") from None

    def _write(self, head: Head) -> None:
        """Replace the head that was read last.

        Raises:
            StaleWrite: another one is there.
        """
        before = self._seen.etag
        try:
            weak = self._fence.weak
            etag = self._fence.write(lambda: heads.write(self._store, self._attempt, head, before, weak=weak))
            self._seen = VersionedHead(head, etag)
        except StaleWrite:
            # A write whose answer was lost is repeated and refused. No two heads are equal, so this one is ours.
            found = self._patience(lambda: heads.read(self._store, self._attempt))
            if found is None or found.head != head:
                raise
            self._seen = found

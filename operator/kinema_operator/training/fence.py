"""The fence between attempts: which checkpoint a new attempt resumes from, and which old ones may go.

Candidates, in this order: the checkpoints in the head of the previous attempt (`kinema_api.head`), newest round first,
then newest step; the checkpoint that the previous attempt resumed from; the checkpoints older than that one. An attempt
that trainers of an older version began has no head: there every checkpoint with a manifest counts. The head is closed
before it is read, so that nothing more is committed in it. The choice is written into the status before anything of the
new attempt exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.errors import BrokenManifest, ObjectMissing
from kinema_api.head import Head
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStat, ObjectStore
from kinema_operator.training.observed import RunFound
from kinema_operator.training.view import View

_PLACE: Final = re.compile(r"run-(\d+)/attempt-(\d+)/")
_ATTEMPT: Final = re.compile(r"^(.*/run-\d+/attempt-(\d+)/)")
_FOLDER: Final = re.compile(r"^(.*/attempt-(\d+)/step-(\d+)/round-(\d+)/)[^/]+$")


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A checkpoint's folder, ordered by attempt, round and step."""

    attempt: int
    round: int
    step: int
    prefix: str


@dataclass(frozen=True)
class Found:
    """A checkpoint to resume from, and the newer ones that could not be used."""

    checkpoint: Checkpoint | None
    passed_over: tuple[str, ...]
    closed: bool = False
    """The head of the previous attempt is closed: nothing more is committed in it."""


def committed(keys: Iterable[str]) -> list[Checkpoint]:
    """Checkpoints whose manifest is among `keys`, newest first."""
    found = []
    for key in keys:
        at, place = layout.parse_checkpoint_manifest(key), _ATTEMPT.match(key)
        if at and place:
            prefix = key.removesuffix(layout.MANIFEST)
            found.append(Checkpoint(attempt=int(place[2]), round=at[1], step=at[0], prefix=prefix))
    return sorted(found, reverse=True)


def candidates(last_attempt: Iterable[str], resumed_from: str | None, its_attempt: Iterable[str]) -> list[Checkpoint]:
    """What a new attempt may resume from, best first.

    Args:
        last_attempt: keys below the previous attempt.
        resumed_from: prefix of the checkpoint that it resumed from.
        its_attempt: keys below the attempt that wrote `resumed_from`.
    """
    newest = committed(last_attempt)
    if resumed_from is None:
        return newest
    (fixed,) = committed([resumed_from + layout.MANIFEST])
    return newest + [fixed] + [older for older in committed(its_attempt) if older < fixed]


def _further_back(ordered: Sequence[Checkpoint], resumed_from: str | None) -> list[Checkpoint]:
    """Candidates older than the checkpoint that the last attempt resumed from, or else the oldest one."""
    if resumed_from is None:
        return []
    (fixed,) = committed([resumed_from + layout.MANIFEST])
    older = [candidate for candidate in ordered if candidate.step < fixed.step]
    # Without an older one, resume from the same checkpoint again: the batch that failed is skipped now.
    return older + sorted((c for c in ordered if c not in older), key=lambda c: c.step)


def find(store: ObjectStore, last_attempt: str, resumed_from: str | None, *, further_back: bool = False) -> Found:
    """The newest complete checkpoint that the fence allows; incomplete ones are skipped. Blocks.

    Args:
        store: where the checkpoints are.
        last_attempt: prefix of the previous attempt.
        resumed_from: prefix of the checkpoint that it resumed from.
        further_back: resume from an older checkpoint than `resumed_from`, which leads to a non-finite loss.

    Raises:
        StorageError: the store cannot be used now.
    """
    last = _Attempt.read(store, last_attempt)
    place = _ATTEMPT.match(resumed_from) if resumed_from else None
    older = _Attempt.read(store, place[1]) if place else _Attempt({}, [])
    passed_over = [*last.unreadable]
    ordered = candidates(last.committed, resumed_from, older.committed)
    for candidate in _further_back(ordered, resumed_from) if further_back else ordered:
        if _is_whole(store, candidate, older.objects | last.objects):
            return Found(candidate, tuple(passed_over), last.closed)
        passed_over.append(candidate.prefix)
    return Found(None, tuple(passed_over), last.closed)


@dataclass(frozen=True)
class _Attempt:
    """The objects below an attempt."""

    objects: dict[str, ObjectStat]
    committed: list[str]
    """Manifests of committed checkpoints."""
    closed: bool = False
    unreadable: tuple[str, ...] = ()
    """The head's key, if the head cannot be read: then no checkpoint counts."""

    @classmethod
    def read(cls, store: ObjectStore, prefix: str) -> _Attempt:
        # Read the head before the list, so that the list has everything that the head names.
        try:
            head = heads.read(store, prefix)
        except BrokenManifest:
            return cls({}, [], unreadable=(layout.head_key(prefix),))
        objects = {found.key: found for found in store.list(prefix)}
        committed = heads.named(prefix, head.head if head else None, objects)
        return cls(objects, committed, head is not None and head.head.closed)


def _is_whole(store: ObjectStore, checkpoint: Checkpoint, objects: dict[str, ObjectStat]) -> bool:
    key = checkpoint.prefix + layout.MANIFEST
    try:
        manifest = Manifest.read(store, key)
    except (BrokenManifest, ObjectMissing):
        return False
    at = (manifest.kind, manifest.attempt, manifest.round, manifest.step)
    if at != ("checkpoint", checkpoint.attempt, checkpoint.round, checkpoint.step):
        return False
    sizes = {name: found.bytes for name, found in objects.items()}
    return all(sizes.get(checkpoint.prefix + file.name) == file.bytes for file in manifest.files)


def to_prune(
    keys: Sequence[str], keep: int, protected: Iterable[str], heads_of: Mapping[str, Head | None] | None = None
) -> list[str]:
    """Keys to delete, manifests first, so that a partly deleted checkpoint does not count.

    Everything newer than the newest committed checkpoint is kept, since it may still be being written.

    Args:
        keys: all keys below a run.
        keep: number of newest committed checkpoints to keep.
        protected: prefixes to keep.
        heads_of: heads by prefix of the attempt. In an attempt without an entry every manifest counts; an attempt whose
            head cannot be read (None) is left alone.
    """
    found = heads_of or {}
    left_alone = tuple(prefix for prefix, head in found.items() if head is None)
    keys = [key for key in keys if not key.startswith(left_alone)] if left_alone else keys
    whole = committed(key for key in keys if counts(key, found))
    if not whole:
        return []
    kept = {checkpoint.prefix for checkpoint in whole[:keep]} | set(protected)
    doomed = []
    for key in keys:
        folder = _FOLDER.match(key)
        if not folder or folder[1] in kept:
            continue
        at = (int(folder[2]), int(folder[4]), int(folder[3]))
        if at < (whole[0].attempt, whole[0].round, whole[0].step):
            doomed.append(key)
    return sorted(doomed, key=lambda key: (not key.endswith("/" + layout.MANIFEST), key))


def counts(key: str, heads_of: Mapping[str, Head | None]) -> bool:
    """Whether the object at `key` is committed according to its attempt's head, if there is one."""
    place = _ATTEMPT.match(key)
    head = heads_of.get(place[1]) if place else None
    return head is None or place is None or bool(heads.named(place[1], head, [key]))


def read_heads(store: ObjectStore, keys: Iterable[str]) -> dict[str, Head | None]:
    """Heads by prefix of the attempts in `keys`; None for a head that cannot be read. Blocks.

    Raises:
        StorageError: the store cannot be used now.
    """
    attempts = [key.removesuffix(layout.HEAD) for key in keys if key.endswith("/" + layout.HEAD)]
    found: dict[str, Head | None] = {}
    for attempt in attempts:
        try:
            seen = heads.read(store, attempt)
        except BrokenManifest:
            found[attempt] = None
        else:
            found[attempt] = seen.head if seen else None
    return found


def read_export(store: ObjectStore, export: str) -> Manifest | None:
    """The committed manifest of an export, or None if there is none yet. Blocks.

    Raises:
        BrokenManifest: the manifest cannot be read or is not of a model.
        StorageError: the store cannot be used now.
    """
    key = export + layout.MANIFEST
    try:
        manifest = Manifest.read(store, key)
    except ObjectMissing:
        return None
    if manifest.kind != "model":
        raise BrokenManifest(f"{key} is the manifest of a {manifest.kind}, not of a model; the model is exported again")
    return manifest


def find_run(store: ObjectStore, view: View) -> RunFound | None:
    """The newest run below the training's folder. Blocks.

    Raises:
        StorageError: the store cannot be used now.
    """
    meta, record = view.training.metadata, view.training.artifacts
    prefix = layout.training_prefix(meta.namespace, meta.name, record.uid)
    keys = [found.key for found in store.list(prefix)]
    places = [(int(at[1]), int(at[2])) for key in keys if (at := _PLACE.match(key.removeprefix(prefix)))]
    if not places:
        return None
    run, attempt = max(places)
    of_run = layout.run_prefix(meta.namespace, meta.name, record.uid, run)
    keys = [key for key in keys if key.startswith(of_run)]
    heads = read_heads(store, keys)
    whole = committed(key for key in keys if counts(key, heads))
    before = [checkpoint for checkpoint in whole if checkpoint.attempt < attempt]
    return RunFound(run, attempt, before[0].prefix if before else None)

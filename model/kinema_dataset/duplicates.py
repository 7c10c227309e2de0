"""Near-duplicates: the same clip encoded again, cropped, mirrored or shifted in time, of which one is kept.

A clip that a data set holds ten times is learned by heart (Lee et al., Deduplicating training data makes language
models better, ACL 2022). Which clip is kept depends on the clips alone, not on the order in which pods have prepared
them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema_dataset.alignment import duplicates
from kinema_dataset.errors import SignatureError
from kinema_dataset.lsh import candidates
from kinema_dataset.records import Filter, Verdict, dropped
from kinema_dataset.signature import Signature, views


@dataclass(frozen=True)
class Entry:
    """A clip to compare with others: a name that no other has, its signature, and how good it is.

    `quality` is compared in order, greater is better: pixels of a frame, frames, sharpness.
    """

    name: str
    signature: Signature
    quality: tuple[float, ...] = ()


@dataclass(frozen=True)
class Group:
    """A clip that is kept, and its near-duplicates by name, which are not."""

    kept: str
    dropped: tuple[str, ...]


def groups(entries: Sequence[Entry]) -> tuple[Group, ...]:
    """The groups of two clips and more, sorted by the name of the clip kept; the order of entries does not matter.

    The best clip is kept, and drops its own near-duplicates; then the best that is left, and so on. So every clip
    that is dropped is a near-duplicate of one that is kept. Among equals the first name wins.
    Raises SignatureError if two entries have one name.
    """
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise SignatureError("two clips have one name: name a clip by its input and its first frame")
    if len(entries) < 2:
        return ()
    ranked = sorted(sorted(entries, key=lambda entry: entry.name), key=lambda entry: entry.quality, reverse=True)
    near = _near(ranked)
    gone: set[int] = set()
    found = []
    for index, entry in enumerate(ranked):
        if index in gone:
            continue
        its = [other for other in near[index] if other > index and other not in gone]
        gone.update(its)
        if its:
            found.append(Group(entry.name, tuple(sorted(ranked[other].name for other in its))))
    return tuple(sorted(found, key=lambda group: group.kept))


def _near(entries: Sequence[Entry]) -> dict[int, list[int]]:
    described = np.stack([views(entry.signature) for entry in entries])
    near: dict[int, list[int]] = defaultdict(list)
    for first, second in candidates(described).tolist():
        if duplicates(entries[first].signature, entries[second].signature):
            near[first].append(second)
            near[second].append(first)
    return near


def verdicts(found: Sequence[Group]) -> dict[str, Verdict]:
    """The verdict on every clip that a group drops, by name."""
    return {
        name: dropped(Filter.DUPLICATE, f"near-duplicate of {group.kept}") for group in found for name in group.dropped
    }

"""Which checkpoints a round may start from, best first.

First come the checkpoints that the attempt's head names, newest first: it names only rounds that held the attempt, and
a round that went back to an older checkpoint has dropped the newer ones. Then come the checkpoint that the attempt
started from and older ones, in case all before them are incomplete.
"""

from __future__ import annotations

from collections.abc import Sequence

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.objectstore import ObjectStore


def candidates(committed: Sequence[str], resume_from: str | None, elders: Sequence[str]) -> list[str]:
    """Prefixes, best first.

    Args:
        committed: what the attempt has committed, newest first.
        resume_from: what it started from.
        elders: what is older than that, newest first.
    """
    behind = [resume_from, *elders] if resume_from else []
    return [*committed, *(prefix for prefix in behind if prefix not in committed)]


def elders(store: ObjectStore, resume_from: str | None) -> list[str]:
    """Older checkpoints of the attempt that `resume_from` belongs to, newest first. Blocks.

    Raises:
        BrokenManifest: that attempt's head cannot be read.
        StorageError: the store cannot be used now.
    """
    place = layout.parse_checkpoint_manifest((resume_from or "") + layout.MANIFEST)
    if resume_from is None or place is None:
        return []
    attempt = resume_from.partition("step-")[0]
    committed = (attempt + folder for folder in heads.adopt(store, attempt).head.checkpoints)
    return [prefix for prefix in committed if _is_older(prefix, place)]


def _is_older(prefix: str, than: tuple[int, int]) -> bool:
    at = layout.parse_checkpoint_manifest(prefix + layout.MANIFEST)
    return at is not None and at[0] < than[0] and at[1] <= than[1]

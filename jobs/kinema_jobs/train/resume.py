"""Which checkpoint a round starts from: the fence that keeps late writers of older rounds out.

The candidates of round R+1 are what round R chose and what round R committed, nothing else: a manifest that a member
of an older round commits after it was thought dead is never read. Where the rendezvous service has forgotten the
choices (it was started anew), they are found again from the bucket alone: the newest round had the right to write,
and within it the newest step counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kinema_api import layout


@dataclass(frozen=True)
class Choice:
    """What an earlier round started from; an empty prefix means from scratch."""

    round: int
    prefix: str


@dataclass(frozen=True)
class Candidate:
    """A committed checkpoint that a round may start from."""

    step: int
    round: int
    prefix: str


def committed(keys: Iterable[str]) -> list[Candidate]:
    """The checkpoints whose manifests are among `keys`."""
    parsed = ((key, layout.parse_checkpoint_manifest(key)) for key in keys)
    return [Candidate(*at, key.removesuffix(layout.MANIFEST)) for key, at in parsed if at is not None]


def candidates(found: Iterable[Candidate], round_: int, choice: Choice | None, resume_from: str | None) -> list[str]:
    """Prefixes that round `round_` may start from, best first; the ones behind serve when the best is torn.

    `found` is what this attempt has committed, `choice` the newest choice that is remembered, `resume_from` the
    checkpoint that the attempt itself starts from.
    """
    newest_first = sorted((c for c in found if c.round < round_), key=lambda c: (c.round, c.step), reverse=True)
    if choice is None:
        ordered = [c.prefix for c in newest_first]
    else:
        ordered = [c.prefix for c in newest_first if c.round >= choice.round]
        own = next((c for c in newest_first if c.prefix == choice.prefix), None)
        if own:
            older = [c for c in newest_first if c.round < choice.round and c.step <= own.step and c != own]
            ordered += [own.prefix, *(c.prefix for c in older)]
    if resume_from and resume_from not in ordered:
        ordered.append(resume_from)
    return ordered


def before(found: Iterable[Candidate], prefix: str) -> list[str]:
    """Older checkpoints of the attempt that `prefix` belongs to, newest first: for when `prefix` itself is torn."""
    at = layout.parse_checkpoint_manifest(prefix + layout.MANIFEST)
    if at is None:
        return []
    older = [c for c in found if c.step < at[0] and c.round <= at[1]]
    return [c.prefix for c in sorted(older, key=lambda c: (c.round, c.step), reverse=True)]

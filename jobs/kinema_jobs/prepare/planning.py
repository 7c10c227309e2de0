"""From a prefix to its units of work: what lies there, and which captions files have for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kinema_api.errors import ObjectTooLarge
from kinema_api.objectstore import ObjectStore
from kinema_api.recorded import RecordedClips
from kinema_dataset.captions import ending
from kinema_dataset.issues import Issues, Reason
from kinema_dataset.records import InputFile
from kinema_jobs.errors import InputChanged
from kinema_jobs.prepare.bucket import Bucket
from kinema_jobs.prepare.caption_files import read_captions, read_tar
from kinema_jobs.prepare.listing import KINDS, Kind, list_inputs
from kinema_jobs.prepare.units import Unit, input_uri
from kinema_jobs.train.failures import BadConfiguration, StorageFailure

TRIES: Final = 5
"""Times that a prefix is listed whose files of captions change meanwhile."""
LEFT_OUT: Final = (Reason.NOT_A_CLIP, Reason.BAD_NAME, Reason.EMPTY_FILE, Reason.UNREADABLE, Reason.DUPLICATE)
"""What leaves out a file; anything else is said of a caption."""


@dataclass
class Plan:
    """The units of a prefix in the order of their keys, and what was found on the way.

    `found` counts inputs by kind, `left_out` files by reason; `issues` are remarks for people.
    """

    units: list[Unit]
    found: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    issues: list[Issues] = field(default_factory=list)


def plan(source: Bucket, prefix: str, clips: RecordedClips) -> Plan:
    """List a prefix and read its captions.

    Raises:
        BadConfiguration: nothing there can become a clip, or there is too much.
        StorageFailure: the store stayed away, or files of captions changed again and again.
    """
    for _ in range(TRIES):
        try:
            made = _plan(source, prefix, clips)
        except InputChanged as error:
            changed = error
        except ObjectTooLarge as error:
            raise BadConfiguration(str(error)) from None
        else:
            if not made.units:
                raise BadConfiguration(_nothing(made, clips))
            return made
    raise StorageFailure(f"{changed}; it has changed {TRIES} times while it was read")


def _plan(source: Bucket, prefix: str, clips: RecordedClips) -> Plan:
    listing = source.insist(lambda: list_inputs(source.store, prefix))
    captions, caption_issues = source.insist(lambda: read_captions(source.store, listing))
    made = Plan([], issues=[listing.issues, caption_issues])
    for key, file in listing.clips.items():
        made.found[KINDS[ending(key)]] += 1
        made.units.append(Unit(input_uri(clips.uri, prefix, key), key, file, None, captions.get(key)))
    for key, file in listing.tars.items():
        issues = Issues()
        made.units += source.insist(lambda: list(_members(source.store, prefix, clips, key, file, issues)))  # noqa: B023
        made.found[Kind.TAR] += 1
        made.issues.append(issues)
    if clips.captions.endpoint is None:
        made.left_out[Reason.MISSING] += sum(unit.captions is None for unit in made.units)
        made.units = [unit for unit in made.units if unit.captions is not None]
    for issues in made.issues:
        made.left_out.update({reason: issues.counts[reason] for reason in LEFT_OUT if issues.counts[reason]})
    return made


def _members(
    store: ObjectStore, prefix: str, clips: RecordedClips, key: str, file: InputFile, issues: Issues
) -> Iterator[Unit]:
    issues.counts.clear()
    issues.sentences.clear()
    for found in read_tar(store, key, file, issues):
        uri = input_uri(clips.uri, prefix, key, found.member.name)
        yield Unit(uri, key, file, found.member, found.captions)


def _nothing(made: Plan, clips: RecordedClips) -> str:
    """The sentence for a prefix without a unit."""
    without = made.left_out[Reason.MISSING]
    if without:
        return (
            f"none of the {without} clips below {clips.uri} has a caption: add a file NAME.txt beside each, or set "
            "captions.endpoint"
        )
    return f"there is no video below {clips.uri}: put files there that end in {', '.join(KINDS)}, or correct the uri"

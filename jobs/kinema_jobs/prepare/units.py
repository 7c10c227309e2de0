"""The units of work of a prefix: one input, a member of a tar, or a window of a long video. Pure.

A unit's name is a digest of what its outcome follows from, so that whoever prepares it finds or leaves the outcome in
one place, and a changed input has another name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from pydantic import JsonValue

from kinema_api import layout
from kinema_api.prepare import ClipTarget
from kinema_api.recorded import CaptionEndpoint, RecordedClips
from kinema_dataset.order import shuffled
from kinema_dataset.parts import Part
from kinema_dataset.records import InputFile
from kinema_dataset.samples import canonical
from kinema_dataset.tars import Member
from kinema_model.source import Captions

PREPARING: Final = "kinema-prepare/1"
"""Changes when clips of the same inputs and settings come out otherwise."""


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    `key` is the object, `file` its listed version, and `uri` how clips name the input; `captions` are those of files.
    """

    uri: str
    key: str
    file: InputFile
    member: Member | None = None
    captions: Captions | None = None
    window: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of the video or picture itself."""
        return self.file.bytes if self.member is None else self.member.bytes

    @property
    def first(self) -> int:
        """Where it begins in the object."""
        return 0 if self.member is None else self.member.first

    def name(self, captioner: CaptionEndpoint | None) -> str:
        """The name of its outcome."""
        asked = None if self.captions or captioner is None else captioner_settings(captioner)
        of = [self.uri, self.file.etag, self.file.bytes, self.first, self.bytes, self.window, asked]
        return sha256(canonical(of)).hexdigest()[:40]

    def following(self, part: Part) -> Iterator[Unit]:
        """The units that follow from the outcome of this one: the other windows of a long video."""
        if self.window == 0:
            yield from (replace(self, window=number) for number in range(1, part.windows))
        if part.more:
            yield replace(self, window=self.window + 1)


def input_uri(prefix_uri: str, prefix: str, key: str, member: str = "") -> str:
    """How clips name an input: the same wherever a bucket is, so that a copy of a bucket gives the same dataset."""
    return prefix_uri + key.removeprefix(prefix) + (f"#{quote(member)}" if member else "")


def captioner_settings(endpoint: CaptionEndpoint) -> dict[str, JsonValue]:
    """What answers of a captioner depend on."""
    return {"url": endpoint.url, "model": endpoint.model, "prompt": endpoint.prompt}


def clip_settings(clips: RecordedClips, target: ClipTarget) -> dict[str, JsonValue]:
    """What the pixels of a prefix' clips follow from, beside the inputs: the folder of its parts is named by it."""
    filters = clips.filters.model_dump(mode="json", exclude={"duplicates"})
    return {"preparing": PREPARING, "target": target.model_dump(mode="json"), "filters": filters}


def dataset_settings(clips: RecordedClips, target: ClipTarget) -> dict[str, JsonValue]:
    """What is recorded in a dataset of how it was made."""
    endpoint = clips.captions.endpoint
    return {
        **clip_settings(clips, target),
        "uri": clips.uri,
        "duplicates": clips.filters.duplicates,
        "captioner": None if endpoint is None else captioner_settings(endpoint),
    }


def folder(namespace: str, clips: RecordedClips, target: ClipTarget) -> str:
    """Key prefix of what a prefix becomes with these settings."""
    return layout.dataset_folder(
        namespace, sha256(canonical([clips.uri, clip_settings(clips, target)])).hexdigest()[:32]
    )


def inputs_digest(units: Iterable[Unit], clips: RecordedClips, target: ClipTarget) -> str:
    """What a whole dataset follows from, in hexadecimal: its first windows, their captions, and the settings."""
    endpoint = clips.captions.endpoint
    whole = sha256(canonical(dataset_settings(clips, target)))
    for unit in units:
        texts = None if unit.captions is None else [unit.captions.short, unit.captions.rich, *unit.captions.shots]
        whole.update(canonical([unit.name(endpoint), texts]))
    return whole.hexdigest()[:40]


def in_turn(units: Sequence[Unit], worker: int) -> Iterator[Unit]:
    """The units in the order of one worker: each has another one, so that few meet at the same unit."""
    yield from (units[shuffled(place, len(units), worker, 0)] for place in range(len(units)))


def missing(units: Sequence[Unit], done: Mapping[str, object], captioner: CaptionEndpoint | None) -> list[Unit]:
    """Those that have no outcome yet."""
    return [unit for unit in units if unit.name(captioner) not in done]

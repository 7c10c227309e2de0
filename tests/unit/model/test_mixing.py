"""Several sources as one: each has its share and its own order, and a position always means the same clip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema_model.errors import ConfigError
from kinema_model.mixing import MixedSource
from kinema_model.source import Captions, Clip, Shape, Source
from kinema_world import World
from kinema_world.scene import ClipShape
from kinema_world.source import WorldSource

WEIGHTS = st.lists(st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0, 1e-9, 7.5]), min_size=1, max_size=5).filter(any)


class Named:
    """Clips that tell their source and position."""

    def __init__(self, name: str, files: Mapping[str, str] | None = None) -> None:
        self.digest = f"sha256:{name}"
        self._name, self._files = name, files or {}
        self.asked = 0

    def shape(self, index: int) -> Shape:
        return ClipShape(1 + index, 8, 8, 8)

    def largest_shapes(self) -> Sequence[Shape]:
        return [ClipShape(9, 8, 8, 8)]

    def clips(self, indices: Sequence[int]) -> Sequence[Clip]:
        self.asked += 1
        said = [f"{self._name}{index}" for index in indices]
        return [Clip(torch.zeros(1), 8, Captions(text, text, (text,))) for text in said]

    def validation(self, count: int) -> Sequence[Clip]:
        return self.clips(range(count))

    def texts(self) -> Iterable[str]:
        return [self._name]

    def files(self) -> Mapping[str, str]:
        return self._files


def mixed(weights: Sequence[float]) -> MixedSource:
    return MixedSource([(Named("abcde"[number]), weight) for number, weight in enumerate(weights)])


def names(clips: Sequence[Clip]) -> list[str]:
    return [clip.captions.short for clip in clips]


@given(weights=WEIGHTS, first=st.integers(0, 10**12), count=st.integers(1, 40))
def test_each_source_gives_its_clips_in_its_own_order(weights: list[float], first: int, count: int) -> None:
    source = mixed(weights)
    places = [source.place(index) for index in range(first, first + count)]
    for number in {which for which, _ in places}:
        own = [place for which, place in places if which == number]
        assert own == list(range(own[0], own[0] + len(own)))
    assert [MixedSource.place(mixed(weights), index) for index in range(first, first + count)] == places


@given(weights=WEIGHTS, count=st.integers(1, 300))
def test_each_source_has_its_share_of_any_beginning(weights: list[float], count: int) -> None:
    source, kept = mixed(weights), [weight for weight in weights if weight]
    given_by = [0] * len(kept)
    for index in range(count):
        number, own = source.place(index)
        assert own == given_by[number]
        given_by[number] += 1
    wanted = [count * weight / sum(kept) for weight in kept]
    assert all(abs(a - b) <= len(kept) for a, b in zip(given_by, wanted, strict=True))


def test_clips_and_shapes_come_from_the_same_place() -> None:
    source = mixed([1, 0, 3])
    told: Source = source
    indices = [7, 1, 3, 3, 13]
    clips = names(told.clips(indices))
    places = [source.place(index) for index in indices]
    assert clips == [f"{'ac'[number]}{own}" for number, own in places]
    assert [told.shape(index).frames for index in indices] == [1 + own for _, own in places]
    assert [part.asked for part in source._sources if isinstance(part, Named)] == [1, 1]


def test_validation_clips_are_shared_out_too() -> None:
    assert sorted(names(mixed([1, 3]).validation(8))) == ["a0", "a1", "b0", "b1", "b2", "b3", "b4", "b5"]


def test_validation_clips_of_two_sources_alternate_and_a_small_one_gives_what_it_has() -> None:
    few = Named("b")
    few.validation = lambda count: few.clips(range(min(count, 1)))  # type: ignore[method-assign]
    assert names(mixed([1, 1]).validation(4)) == ["a0", "b0", "a1", "b1"]
    assert names(MixedSource([(Named("a"), 1), (few, 1)]).validation(4)) == ["a0", "b0", "a1"]


def test_it_tells_what_its_sources_tell() -> None:
    source = mixed([1, 1])
    assert list(source.texts()) == ["a", "b"]
    assert len(source.largest_shapes()) == 2
    assert source.digest == mixed([2, 2]).digest != mixed([1, 2]).digest
    both = MixedSource([(Named("a", {"a.json": "1"}), 1), (Named("b", {"b.json": "2"}), 1)])
    assert both.files() == {"a.json": "1", "b.json": "2"}
    clash = MixedSource([(Named("a", {"a.json": "1"}), 1), (Named("b", {"a.json": "2"}), 1)])
    with pytest.raises(ConfigError, match=r"a\.json"):
        clash.files()


def test_a_world_is_one_of_them() -> None:
    world = WorldSource(World.fixed(7, 4, 16, 16, 8))
    source = MixedSource([(world, 0.5), (Named("a"), 0.5)])
    clips = source.clips(range(4))
    own = [clip for clip in clips if clip.captions.short[0] != "a" or len(clip.captions.short) > 3]
    assert [clip.captions for clip in own] == [clip.captions for clip in world.clips([0, 1])]


@pytest.mark.parametrize("weights", [[], [0.0], [1.0, -1.0], [float("inf")], [float("nan")]])
def test_weights_that_mean_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="Give each at least 0"):
        mixed(weights)

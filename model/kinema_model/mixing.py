"""One source out of several, by weight: recorded clips of several datasets, and the clips of a world among them.

Which source a position belongs to is computed from the position, and so is the position within that source: each
source gives its clips 0, 1, 2 and so on, as alone, and of the positions below any it has its share, give or take as
many clips as there are sources. So a run that was stopped goes on with the same clips.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from hashlib import sha256
from itertools import chain, islice

from kinema_model.errors import ConfigError
from kinema_model.source import Clip, Shape, Source


class MixedSource:
    """A `Source` that takes its clips from others, as often as their weights say. Weights of 0 leave a source out.

    Raises:
        ConfigError: there is no source, or a weight is negative or infinite, or none is above 0.
    """

    def __init__(self, sources: Sequence[tuple[Source, float]]) -> None:
        if any(not 0 <= weight < float("inf") for _, weight in sources) or not any(weight for _, weight in sources):
            weights = [weight for _, weight in sources]
            raise ConfigError(f"The sources have weights {weights}. Give each at least 0 and one more than that.")
        self._sources = [source for source, weight in sources if weight]
        total = sum((Fraction(weight) for _, weight in sources), Fraction(0))
        self._weights = [Fraction(weight) / total for _, weight in sources if weight]
        rests = [sum(self._weights[number:], Fraction(0)) for number in range(len(self._weights))]
        # Of the positions that the sources before it leave, the share that is this one's.
        self._shares = [weight / rest for weight, rest in zip(self._weights, rests, strict=True)]

    @property
    def digest(self) -> str:
        """`sha256:...` of the digests of its sources and their weights."""
        parts = [[source.digest, str(weight)] for source, weight in zip(self._sources, self._weights, strict=True)]
        return f"sha256:{sha256(json.dumps(parts).encode()).hexdigest()}"

    def place(self, index: int) -> tuple[int, int]:
        """Which source has the clip at a position (those of weight 0 do not count), and at which of its positions."""
        for number, share in enumerate(self._shares):
            before = given(index, share)
            if given(index + 1, share) > before:
                return number, before
            index -= before
        raise AssertionError("the last source takes what is left")

    def shape(self, index: int) -> Shape:
        """As `Source.shape`."""
        number, own = self.place(index)
        return self._sources[number].shape(own)

    def largest_shapes(self) -> Sequence[Shape]:
        """The largest shapes of all its sources."""
        return [shape for source in self._sources for shape in source.largest_shapes()]

    def clips(self, indices: Sequence[int]) -> Sequence[Clip]:
        """As `Source.clips`; each source is asked once."""
        places = [self.place(index) for index in indices]
        found: dict[tuple[int, int], Clip] = {}
        for number, source in enumerate(self._sources):
            own = [place for which, place in places if which == number]
            if own:
                found |= {(number, place): clip for place, clip in zip(own, source.clips(own), strict=True)}
        return [found[place] for place in places]

    def validation(self, count: int) -> Sequence[Clip]:
        """Validation clips of all its sources, in the order of the first `count` positions; fewer where one has few."""
        order = [self.place(index)[0] for index in range(count)]
        clips = [
            iter(source.validation(order.count(number)) if number in order else ())
            for number, source in enumerate(self._sources)
        ]
        return [clip for number in order for clip in islice(clips[number], 1)]

    def texts(self) -> Iterable[str]:
        """The texts of all its sources."""
        return chain.from_iterable(source.texts() for source in self._sources)

    def files(self) -> Mapping[str, str]:
        """The files of all its sources. Raises `ConfigError` where two have different files of one name."""
        found: dict[str, str] = {}
        for source in self._sources:
            for name, text in source.files().items():
                if found.setdefault(name, text) != text:
                    raise ConfigError(f"Two sources describe themselves in {name}. Mix sources of different kinds.")
        return found


def given(index: int, share: Fraction) -> int:
    """How many of the positions below `index` a source of that share has: the nearest integer, halves upwards."""
    return (2 * index * share.numerator + share.denominator) // (2 * share.denominator)

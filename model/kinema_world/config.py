"""Which clips a world makes, as data: kinds of scenes with weights, and the mix of clip shapes."""

from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from kinema_world.errors import ClipError, WorldConfigError
from kinema_world.scene import ClipShape
from kinema_world.splits import Split
from kinema_world.vocabulary import SceneKind

RATES: Final = (8, 12, 24)
LEAST_SIDE: Final = 32
MOST_SIDE: Final = 128
MOST_FRAMES: Final = 64
LEAST_ASPECT: Final = 9 / 16
# Simple scenes follow whatever clip a model draws, so they bear more.
SIMPLE_LEAST_SIDE: Final = 8
SIMPLE_MOST_SIDE: Final = 512
SIMPLE_MOST_FRAMES: Final = 1024
SIMPLE_MOST_RATE: Final = 240
# Frames and seconds that a kind needs for what happens in it to be seen.
NEEDS: Final[dict[SceneKind, tuple[int, float]]] = {
    # Two, to see a direction; a world of single frames may still be made of them.
    SceneKind.SIMPLE: (2, 0.0),
    SceneKind.SEVERAL: (5, 0.2),
    SceneKind.BOUNCE: (10, 0.5),
    SceneKind.GRAVITY: (8, 0.5),
    SceneKind.COLLIDE: (10, 0.5),
    SceneKind.OCCLUDE: (16, 0.6),
    SceneKind.PAN: (5, 0.2),
    SceneKind.PAINT: (8, 0.3),
    SceneKind.TWO_SHOT: (14, 0.6),
    SceneKind.IMAGE: (1, 0.0),
}


class _Strict(BaseModel):
    """Raises this package's error for what pydantic refuses, with the name of the field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _refused(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise WorldConfigError(f"{field} is refused: {first['msg']}. Correct it.") from None


class ShapeMix(_Strict):
    """The distribution of clip shapes: every length, rate and size that it allows comes equally often.

    `sides` are the least and the most pixels of a side; `aspects` the least and the most width over height. Sides
    are multiples of `patch` (rows, columns).
    """

    frames: tuple[int, ...] = (1, 8, 16, 24, 32, 48, 64)
    fps: tuple[int, ...] = RATES
    sides: tuple[int, int] = (LEAST_SIDE, MOST_SIDE)
    aspects: tuple[float, float] = (LEAST_ASPECT, 1 / LEAST_ASPECT)
    patch: tuple[int, int] = (8, 8)

    @classmethod
    def fixed(cls, frames: int, height: int, width: int, fps: int) -> Self:
        """One shape only."""
        aspect = width / height if height > 0 else 0.0
        return cls(
            frames=(frames,),
            fps=(fps,),
            sides=(min(height, width), max(height, width)),
            aspects=(aspect, aspect),
            patch=(max(height, 1), max(width, 1)),
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, values in (("frames", self.frames), ("fps", self.fps), ("patch", self.patch)):
            if not values or min(values) < 1:
                raise ClipError(f"{name} {values} makes an empty clip. Give numbers above 0.")
        if not self.sizes:
            raise ClipError(
                f"sides {self.sides} hold no multiple of patch {self.patch} within aspects {self.aspects}. Widen them."
            )
        return self

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Every (height, width) in pixels, ascending."""
        least, most = self.sides
        rows, columns = self.patch
        heights = range(-(-max(least, 1) // rows) * rows, most + 1, rows)
        widths = range(-(-max(least, 1) // columns) * columns, most + 1, columns)
        slack = 1e-9
        low, high = self.aspects[0] - slack, self.aspects[1] + slack
        return tuple((h, w) for h in heights for w in widths if low <= w / h <= high)

    def rhythms(self, kind: SceneKind) -> list[tuple[int, int]]:
        """Every (frames, frames per second) that is long enough for a scene of this kind."""
        if kind is SceneKind.IMAGE:
            return [(1, rate) for rate in self.fps]
        frames, seconds = NEEDS[kind]
        long = [(n, rate) for n in self.frames for rate in self.fps if n >= frames and (n - 1) / rate >= seconds]
        if kind is SceneKind.SIMPLE and not long:
            return [(n, rate) for n in self.frames for rate in self.fps]
        return long

    def draw(self, draw: np.random.Generator, kind: SceneKind) -> ClipShape:
        """A shape for a scene of this kind."""
        rhythms = self.rhythms(kind)
        frames, fps = rhythms[int(draw.integers(len(rhythms)))]
        height, width = self.sizes[int(draw.integers(len(self.sizes)))]
        return ClipShape(frames, height, width, fps)


class WorldConfig(_Strict):
    """A world of clips: `kinds` maps each kind of scene to its weight.

    Raises:
        WorldConfigError: a field is unknown or contradicts another.
        ClipError: clips of these sizes are not made.
    """

    seed: int = Field(default=0, ge=0, lt=2**64)
    split: Split = "train"
    kinds: dict[SceneKind, float] = Field(default_factory=lambda: dict.fromkeys(SceneKind, 1.0))
    shapes: ShapeMix = ShapeMix()

    @field_validator("kinds")
    @classmethod
    def _some_weight(cls, kinds: dict[SceneKind, float]) -> dict[SceneKind, float]:
        if any(not 0 <= weight < np.inf for weight in kinds.values()) or sum(kinds.values()) <= 0:
            raise WorldConfigError(
                f"kinds has weights {list(kinds.values())}. Give each at least 0 and one more than that."
            )
        return kinds

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        plain = all(kind is SceneKind.SIMPLE for kind in self.wanted)
        least, most, longest = (
            (SIMPLE_LEAST_SIDE, SIMPLE_MOST_SIDE, SIMPLE_MOST_FRAMES) if plain else (LEAST_SIDE, MOST_SIDE, MOST_FRAMES)
        )
        if max(self.shapes.frames) > longest:
            raise ClipError(f"frames {max(self.shapes.frames)} is too many. Give at most {longest}.")
        sides = [side for size in self.shapes.sizes for side in size]
        if min(sides) < least or max(sides) > most:
            raise ClipError(f"sides {self.shapes.sides} are outside {least} to {most} px. Give sides within them.")
        if plain and max(self.shapes.fps) > SIMPLE_MOST_RATE:
            raise ClipError(f"fps {max(self.shapes.fps)} is too high. Give at most {SIMPLE_MOST_RATE}.")
        if not plain:
            self._check_mixed()
        return self

    def _check_mixed(self) -> None:
        if not set(self.shapes.fps) <= set(RATES):
            raise ClipError(f"fps {self.shapes.fps} is not among {RATES}. Choose from them.")
        slack = 1e-9
        for height, width in self.shapes.sizes:
            if not LEAST_ASPECT - slack <= width / height <= 1 / LEAST_ASPECT + slack:
                raise ClipError(f"aspects {self.shapes.aspects} go beyond 9:16 to 16:9. Narrow them.")
        for kind in self.wanted:
            if not self.shapes.rhythms(kind):
                frames, seconds = NEEDS[kind]
                raise WorldConfigError(
                    f"kinds has {kind.value!r}, for which every clip is too short. "
                    f"Add frames: it needs {frames} of them and {seconds} s."
                )

    @property
    def wanted(self) -> tuple[SceneKind, ...]:
        """Kinds of a weight above 0, in the order of the enum."""
        return tuple(kind for kind in SceneKind if self.kinds.get(kind, 0) > 0)

    def largest_shapes(self) -> list[ClipShape]:
        """The longest clips of every size."""
        frames, fps = max(rhythm for kind in self.wanted for rhythm in self.shapes.rhythms(kind))
        return [ClipShape(frames, height, width, fps) for height, width in self.shapes.sizes]

    @cached_property
    def only_shape(self) -> ClipShape | None:
        """The shape of all clips, None where there is more than one."""
        rhythms = {rhythm for kind in self.wanted for rhythm in self.shapes.rhythms(kind)}
        if len(rhythms) > 1 or len(self.shapes.sizes) > 1:
            return None
        ((frames, fps),), ((height, width),) = rhythms, self.shapes.sizes
        return ClipShape(frames, height, width, fps)

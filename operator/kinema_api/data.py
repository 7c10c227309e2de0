"""What a training is shown and told: the world's scenes, their captions, and the tasks that are practised on them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import WORDED_ERROR, ApiModel, cel_rules

NO_SCENE: Final = "no kind of scene has a weight above 0: give at least one, such as simple: 1"
NO_TASK: Final = "no task has a weight above 0: give at least one, such as text: 1"

Weight = Annotated[float, Field(ge=0, le=1000)]


class _Mix(ApiModel):
    """Weights by name, of which at least one is above 0."""

    empty: ClassVar[str]
    """The sentence for a mix of nothing."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any(self.weights().values()):
            raise PydanticCustomError(WORDED_ERROR, self.empty)
        return self

    def weights(self) -> dict[str, float]:
        """Weight by name, its words joined with dashes."""
        return {name.replace("_", "-"): weight for name, weight in self.model_dump(by_alias=False).items()}


def _some_weight(sentence: str, *names: str) -> ConfigDict:
    """The rule that one of these fields is above 0, for the API server."""
    weights = ", ".join(f"self.{name}" for name in names)
    return ConfigDict(json_schema_extra=cel_rules((f"[{weights}].exists(w, w > 0.0)", sentence)))


class SceneMix(_Mix):
    """How often each kind of scene is shown, by weight; what is left out is not shown.

    All but `simple` need clips of at least 32 px a side and some of them time, which some clip must have.
    """

    model_config = _some_weight(
        NO_SCENE, "simple", "several", "bounce", "gravity", "collide", "occlude", "pan", "paint", "twoShot", "image"
    )
    empty = NO_SCENE

    simple: Weight = 0
    """One shape over black crosses a third of the frame."""
    several: Weight = 0
    """Two or three objects, straight ahead."""
    bounce: Weight = 0
    """One object bounces off the frame's walls."""
    gravity: Weight = 0
    """One object falls, bounces and comes to rest."""
    collide: Weight = 0
    """A disc hits another."""
    occlude: Weight = 0
    """One object passes behind a screen and comes out again."""
    pan: Weight = 0
    """The camera pans over landmarks."""
    paint: Weight = 0
    """A brush leaves a trail that stays."""
    two_shot: Weight = 0
    """A cut to another background; one object comes back."""
    image: Weight = 0
    """One frame, of one to three objects: it teaches the task picture."""

    @property
    def plain(self) -> bool:
        """Whether nothing but simple scenes is shown."""
        return not any(weight for name, weight in self.weights().items() if name != "simple")


Side = Annotated[int, Field(ge=8, le=256)]


class ClipShapes(ApiModel):
    """Clips of several shapes, each as often as any other; the model's own clip must be among them."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("has(self.minSide) == has(self.maxSide)", "minSide and maxSide go together: give both or none"),
            ("!has(self.minSide) || self.minSide <= self.maxSide", "minSide must not exceed maxSide: lower minSide"),
        )
    )

    frames: Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(max_length=16)] = ()
    """Lengths in frames; default: that of the model's own clip. Each kind of scene takes those it can be seen in."""
    fps: Annotated[tuple[Annotated[int, Field(ge=1, le=60)], ...], Field(max_length=8)] = ()
    """Frame rates, which the model can then be asked for; 8, 12 and 24 where scenes other than simple are shown.
    Default: that of the model's own clip."""
    min_side: Side | None = None
    """Least width and height in pixels, at least 32 where scenes other than simple are shown. Default: the model's own
    size alone."""
    max_side: Side | None = None
    """Most pixels of a side, at most 128 where scenes other than simple are shown. Sizes between are multiples of the
    patch, from 9:16 to 16:9."""


class WorldData(ApiModel):
    """The built-in synthetic world: coloured shapes that move, made on the fly."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Another seed is another, equally distributed, set of clips."""
    scenes: SceneMix = SceneMix(simple=1)
    """Kinds of scenes; default: simple alone. With any other kind, what evaluation holds out is never shown."""
    shapes: ClipShapes | None = None
    """Clips of several lengths, rates and sizes share each step; default: all are as the model's own."""
    rich_captions: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of samples told in full sentences (sizes, speeds, background, camera, shots), as expanded prompts are."""


class TaskMix(_Mix):
    """How often each task is trained, by weight; what is left out is not trained, and the model will refuse it.

    `edit` is learnt by `text`.
    """

    model_config = _some_weight(NO_TASK, "text", "image", "extend", "extendBack", "fill", "loop", "inpaint", "blend")
    empty = NO_TASK

    text: Weight = 0
    """A clip from words alone."""
    image: Weight = 0
    """A clip that begins with a given picture."""
    extend: Weight = 0
    """A clip that goes on from given frames."""
    extend_back: Weight = 0
    """A clip that leads to given frames."""
    fill: Weight = 0
    """A clip between two given frames."""
    loop: Weight = 0
    """A clip that comes back to the frame it begins with."""
    inpaint: Weight = 0
    """A region of a given clip, made anew."""
    blend: Weight = 0
    """A clip that turns into another one."""


class Data(ApiModel):
    """What is trained on."""

    world: WorldData
    """The built-in synthetic world."""
    tasks: TaskMix = TaskMix(text=1)
    """What the clips are practised for; default: text alone."""

"""Training data: scenes of the synthetic world, recorded clips, and the tasks to train on them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import MESSAGE_ERROR, ApiModel, cel_rules
from kinema_api.clip import FrameRate
from kinema_api.recorded import MAX_PREFIXES, CaptionEndpoint, RecordedClips, Share, Weight

NO_SCENE: Final = "no kind of scene has a weight above 0: give at least one, such as simple: 1"
NO_TASK: Final = "no task has a weight above 0: give at least one, such as text: 1"
NO_DATA: Final = "there is nothing to train on: give world, videos, or both"
NO_WEIGHT: Final = "neither the world nor a folder of videos has a weight above 0: give one of them a weight, such as 1"
SAME_FOLDER: Final = "two entries of videos have the same uri: give each folder once"
MAX_URI_BYTES: Final = 512
"""Most bytes of all folders together: the session policy of the pods that read them has at most 2,048 bytes."""
LONG_FOLDERS: Final = (
    f"the uris of videos have more than {MAX_URI_BYTES} bytes together: use fewer folders, or shorter names"
)


TWO_ENDPOINTS: Final = (
    "the folders of videos name two captioning endpoints or keys: give captions.endpoint the same url and secretRef in "
    "each of them"
)
_ENDPOINT: Final = "v.captions.endpoint"
_OTHER: Final = "other.captions.endpoint"
_SAME_KEY: Final = (
    f"has({_ENDPOINT}.secretRef) == has({_OTHER}.secretRef) && "
    f"(!has({_ENDPOINT}.secretRef) || {_ENDPOINT}.secretRef.name == {_OTHER}.secretRef.name)"
)


class _Mix(ApiModel):
    """Sampling weights by name, of which at least one is above 0."""

    empty: ClassVar[str]
    """The message for a mix whose weights are all 0."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any(self.weights().values()):
            raise PydanticCustomError(MESSAGE_ERROR, self.empty)
        return self

    def weights(self) -> dict[str, float]:
        """Weight by name, in kebab case."""
        return {name.replace("_", "-"): weight for name, weight in self.model_dump(by_alias=False).items()}


def _some_weight(sentence: str, *names: str) -> ConfigDict:
    """CEL rule that at least one of these fields is above 0."""
    weights = ", ".join(f"self.{name}" for name in names)
    return ConfigDict(json_schema_extra=cel_rules((f"[{weights}].exists(w, w > 0.0)", sentence)))


class SceneMix(_Mix):
    """Sampling weights of the kinds of scenes; a kind without a weight is not sampled.

    All kinds but `simple` need clips of at least 32 px a side and some need a minimum length, which at least one clip
    shape must have.
    """

    model_config = _some_weight(
        NO_SCENE, "simple", "several", "bounce", "gravity", "collide", "occlude", "pan", "paint", "twoShot", "image"
    )
    empty = NO_SCENE

    simple: Weight = 0
    """One shape on a black background crosses a third of the frame."""
    several: Weight = 0
    """Two or three objects move in straight lines."""
    bounce: Weight = 0
    """One object bounces off the edges of the frame."""
    gravity: Weight = 0
    """One object falls, bounces and comes to rest."""
    collide: Weight = 0
    """One disc collides with another."""
    occlude: Weight = 0
    """One object passes behind an occluder and reappears."""
    pan: Weight = 0
    """The camera pans over landmarks."""
    paint: Weight = 0
    """A brush leaves a lasting trail."""
    two_shot: Weight = 0
    """A cut to another background; one object reappears."""
    image: Weight = 0
    """A single frame with one to three objects: trains the task picture."""


MAX_CLIP_SIDE: Final = 2048
"""Largest height or width of a clip in pixels. What a model makes is limited by its own config, and by memory."""
MAX_CLIP_FRAMES: Final = 2000
"""Most frames of a training clip; a model's own config, and memory, limit what it makes."""
Side = Annotated[int, Field(ge=8, le=MAX_CLIP_SIDE)]


class ClipShapes(ApiModel):
    """Shapes (length, rate and size) of the training clips, sampled uniformly; the model's configured shape must be
    among them."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("has(self.minSide) == has(self.maxSide)", "minSide and maxSide need each other: set both or neither"),
            ("!has(self.minSide) || self.minSide <= self.maxSide", "minSide must not exceed maxSide: lower minSide"),
        )
    )

    frames: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_CLIP_FRAMES)], ...], Field(max_length=16)] = ()
    """Lengths in frames; default: the model's configured length. Each kind of scene uses those that are long enough for
    it."""
    fps: Annotated[tuple[FrameRate, ...], Field(max_length=8)] = ()
    """Frame rates, which requests for a clip can then choose from; 8, 12 and 24 where kinds other than simple are
    sampled. Default: the model's configured rate."""
    min_side: Side | None = None
    """Least width and height in pixels, at least 32 where kinds other than simple are sampled. Default: only the
    model's configured size."""
    max_side: Side | None = None
    """Greatest width and height in pixels, at most 128 where kinds other than simple are sampled. Sizes are multiples
    of the patch, with aspect ratios from 9:16 to 16:9."""


class WorldData(ApiModel):
    """The built-in synthetic world: coloured shapes in motion, rendered on demand."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Random seed; another seed gives other clips of the same distribution."""
    scenes: SceneMix = SceneMix(simple=1)
    """Sampling weights of the kinds of scenes; default: simple alone. With any other kind, the combinations that
    evaluation holds out are excluded from training."""
    shapes: ClipShapes | None = None
    """Shapes of the training clips, mixed in each batch; default: the model's configured shape."""
    weight: Weight = 1
    """Sampling weight against the folders of videos."""
    rich_captions: Share = 0
    """Share of samples with captions in full sentences (sizes, speeds, background, camera, shots), the form of expanded
    prompts."""


class TaskMix(_Mix):
    """Sampling weights of the tasks; a task without a weight is not trained, and the model refuses it.

    `edit` needs no weight of its own: it is trained with `text`.
    """

    model_config = _some_weight(NO_TASK, "text", "image", "extend", "extendBack", "fill", "loop", "inpaint", "blend")
    empty = NO_TASK

    text: Weight = 0
    """A clip from the prompt alone."""
    image: Weight = 0
    """A clip that begins with a given image."""
    extend: Weight = 0
    """A clip that continues given frames."""
    extend_back: Weight = 0
    """A clip that leads up to given frames."""
    fill: Weight = 0
    """A clip between two given frames."""
    loop: Weight = 0
    """A clip that ends with the frame it begins with."""
    inpaint: Weight = 0
    """A given clip with a region regenerated."""
    blend: Weight = 0
    """A transition from one given clip to another."""


class Data(ApiModel):
    """Training data: the built-in world, recorded clips, or both, mixed by weight."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("has(self.world) || size(self.videos) > 0", NO_DATA),
            (
                "!(has(self.world) || size(self.videos) > 0) || (has(self.world) && self.world.weight > 0.0) || "
                "self.videos.exists(v, v.weight > 0.0)",
                NO_WEIGHT,
            ),
            ("self.videos.all(v, self.videos.exists_one(other, other.uri == v.uri))", SAME_FOLDER),
            (f"self.videos.map(v, size(bytes(v.uri))).sum() <= {MAX_URI_BYTES}", LONG_FOLDERS),
            (
                f"self.videos.all(v, !has({_ENDPOINT}) || self.videos.all(other, !has({_OTHER}) || "
                f"{_ENDPOINT}.url == {_OTHER}.url && {_SAME_KEY}))",
                TWO_ENDPOINTS,
            ),
        )
    )

    world: WorldData | None = None
    """The built-in synthetic world."""
    videos: Annotated[tuple[RecordedClips, ...], Field(max_length=MAX_PREFIXES)] = ()
    """Folders of recorded clips in the training's store, which are prepared before the first attempt. Their uris have
    at most 512 bytes together."""
    rich_captions: Share = 0.5
    """Share of recorded clips that are shown with their rich caption, the others with the short one."""
    own_size: Share = 0.5
    """Share of recorded clips that are scaled and cropped to the model's own size, so that generated clips of that size
    show all of them; the others keep their own size."""
    tasks: TaskMix = TaskMix(text=1)
    """Tasks to train, by weight; default: text alone."""

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        uris = [clips.uri for clips in self.videos]
        if self.world is None and not uris:
            raise PydanticCustomError(MESSAGE_ERROR, NO_DATA)
        if not any((*(clips.weight for clips in self.videos), self.world.weight if self.world else 0)):
            raise PydanticCustomError(MESSAGE_ERROR, NO_WEIGHT)
        if len(set(uris)) < len(uris):
            raise PydanticCustomError(MESSAGE_ERROR, SAME_FOLDER)
        if sum(len(uri.encode()) for uri in uris) > MAX_URI_BYTES:
            raise PydanticCustomError(MESSAGE_ERROR, LONG_FOLDERS)
        if len({(found.url, found.secret_ref) for found in self._endpoints()}) > 1:
            raise PydanticCustomError(MESSAGE_ERROR, TWO_ENDPOINTS)
        return self

    def _endpoints(self) -> list[CaptionEndpoint]:
        return [clips.captions.endpoint for clips in self.videos if clips.captions.endpoint]

    @property
    def captioner(self) -> CaptionEndpoint | None:
        """The captioning endpoint of the folders, of which there is one at most."""
        return next(iter(self._endpoints()), None)

"""The settings of an evaluation, and what all its sections share: scenes with unused seeds, and their clips."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count as count_from
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Unpack

from pydantic import BaseModel, ConfigDict, Field

from kinema_evaluation.report import Report, Section, Subject
from kinema_model.codec.codec import pixels
from kinema_model.conditions.task_inputs import TaskInputs, inputs_for
from kinema_model.conditions.tasks import Task, can_do
from kinema_model.config import ModelConfig
from kinema_model.pipeline import DEFAULT_GUIDANCE, DEFAULT_STEPS, Asked, Completed
from kinema_model.streaming.stream import Shot
from kinema_world import (
    ClipShape,
    Facts,
    Motion,
    ObjectFacts,
    Scene,
    SceneKind,
    ShapeMix,
    ShotFacts,
    Video,
    World,
    WorldConfig,
    draw_many,
)
from kinema_world.errors import ClipError, WorldConfigError
from kinema_world.reader import parse, read
from kinema_world.splits import Split, combination_held_out, speed_held_out

if TYPE_CHECKING:
    from kinema_evaluation.recorded.clips import RecordedData

EVALUATION_STEPS: Final = DEFAULT_STEPS
RECORDED: Final = ("validation", "retrieval", "dynamics", "likeness", "copies")
"""Sections about recorded clips."""
SECTIONS: Final = (
    "captions",
    "motion",
    "permanence",
    "tasks",
    "distribution",
    "memorisation",
    "drift",
    "shots",
    "rates",
    "ablations",
    *RECORDED,
)
# Far from the small numbers that people type, and above every seed that a training can have.
_FIRST_SEED: Final = 1_000_000_000
_WORLD_SEED: Final = 2**40
# Scenes looked through for those that a group wants.
_MOST_SCENES: Final = 40
NOTHING_SAID: Final = ""
"""The prompt that names nothing of what an input shows; a tenth of the samples of a training have it."""
SEEN: Final = "seen captions, new seeds"
NEW_COMBINATIONS: Final = "held-out combinations"
NEW_SPEEDS: Final = "held-out speeds"

OnProgress = Callable[[str, int, int], None]
"""Called with the section's name, the clips done and the clips of this part of it."""


class Renderer(Protocol):
    """The interface of a model for an evaluation; `pipeline.Pipeline` has it."""

    config: ModelConfig

    def generate_batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        **asked: Unpack[Asked],
    ) -> Video:
        """Clips uint8 (B, T, H, W, 3)."""

    def complete(
        self,
        task: Task,
        prompt: str,
        seed: int,
        inputs: TaskInputs,
        **asked: Unpack[Asked],
    ) -> Completed:
        """A clip uint8 (T, H, W, 3) for a task and its inputs."""

    def stream(
        self,
        shots: Sequence[Shot],
        seed: int,
        **asked: Unpack[Asked],
    ) -> Iterator[Video]:
        """Chunks uint8 (t, H, W, 3) of a clip of open length."""


class EvaluationPlan(BaseModel):
    """How many clips, from which seed, and with which settings of the sampler.

    `world` is what the model was trained on; None stands for one simple object over black in the model's own shape.
    `cache` holds trained feature networks; None stands for the user's cache folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clips: int = Field(default=128, ge=2, description="prompts of each group; tasks with given frames take a quarter")
    seed: int = Field(default=0, ge=0, lt=2**31)
    steps: int = Field(default=EVALUATION_STEPS, ge=1)
    guidance_scale: float = Field(default=DEFAULT_GUIDANCE, gt=0)
    batch: int = Field(default=32, ge=1)
    seconds: float = Field(default=20, ge=10, le=600, description="length of each stream that is judged for drift")
    world: WorldConfig | None = None
    sections: tuple[str, ...] = SECTIONS
    cache: Path | None = None

    @property
    def completions(self) -> int:
        """Clips of each task with input frames; these are generated one by one."""
        return max(2, self.clips // 4)

    @property
    def streams(self) -> int:
        """Number of long streams, each of which takes as long as many clips."""
        return max(2, self.clips // 16)


class SkippedSection(Exception):
    """A section does not apply; the message says why in one line."""


@dataclass(frozen=True)
class EvaluationContext:
    """A model, the plan, and what sections need to generate clips."""

    model: Renderer
    plan: EvaluationPlan
    on_progress: OnProgress
    section: str = ""
    beside: Mapping[str, Renderer] = field(default_factory=dict)
    """Other models that are compared with this one, by label."""
    length: int | None = None
    """Frames of the clips where they are not the model's own."""
    recorded: "RecordedData | None" = None
    """The recorded clips that the model was trained on."""
    kept: dict[str, object] = field(default_factory=dict)
    """What sections share, by name."""

    @property
    def shape(self) -> ClipShape:
        """The default shape of the model's clips, or that of another length."""
        config = self.model.config
        return ClipShape(self.length or config.frames, config.height, config.width_px, config.fps)

    @property
    def world(self) -> WorldConfig:
        """The world that the model was trained on; where it is not known, simple scenes in the model's own shape."""
        shape = self.shape
        simple = World.fixed(0, shape.frames, shape.height, shape.width, shape.fps).config
        return self.plan.world or simple

    def subject(self) -> Subject:
        """What is evaluated, for the report."""
        config = self.model.config
        return Subject(
            preset=config.preset,
            tasks=tuple(config.tasks),
            frames=config.frames,
            height=config.height,
            width=config.width_px,
            fps=config.fps,
            world=None if self.recorded is not None and self.plan.world is None else self.world,
            world_known=self.plan.world is not None,
            recorded=self.recorded is not None,
        )

    def report(self, sections: Mapping[str, Section], absent: Mapping[str, str]) -> Report:
        """The report of these sections, with the settings of the evaluation."""
        plan = self.plan
        return Report(
            subject=self.subject(),
            clips=plan.clips,
            seed=plan.seed,
            steps=plan.steps,
            guidance_scale=plan.guidance_scale,
            beside=tuple(self.beside),
            sections=dict(sections),
            absent=dict(absent),
        )

    def can(self, task: Task) -> bool:
        """Whether the model was trained for a task."""
        return can_do(task, self.model.config.tasks)

    def kinds(self) -> tuple[SceneKind, ...]:
        """Kinds of the model's world that its own clip can show."""
        return tuple(kind for kind in self.world.wanted if self._possible(kind))

    def _possible(self, kind: SceneKind) -> bool:
        try:
            self.world_of((kind,)).scene(0)
        except (WorldConfigError, ClipError):
            return False
        return True

    def world_of(self, kinds: Sequence[SceneKind], split: Split = "all", shape: ClipShape | None = None) -> World:
        """Scenes of these kinds, as often as in training, in the model's own shape or another, with unused seeds."""
        of = shape or self.shape
        seed = _WORLD_SEED + 64 * self.plan.seed + SECTIONS.index(self.section or SECTIONS[0])
        shapes = ShapeMix.fixed(of.frames, of.height, of.width, of.fps)
        weights = {kind: self.world.kinds.get(kind, 0.0) or 1.0 for kind in kinds}
        return World(WorldConfig(seed=seed, split=split, kinds=weights, shapes=shapes))

    def stranger(self) -> World:
        """Scenes of objects in motion, which no recorded clip shows, in clips of the model's own length."""
        return World.fixed(_WORLD_SEED, self.shape.frames, self.shape.height, self.shape.width, self.shape.fps)

    def groups(self, kinds: Sequence[SceneKind], count: int) -> dict[str, list[Scene]]:
        """Scenes of the model's world: those of the training's split, and those with something held out of it."""
        if self.world.split != "train":
            return {SEEN: self.scenes(self.world_of(kinds, self.world.split), count)}
        found = {SEEN: self.scenes(self.world_of(kinds, "train"), count)}
        new = self.world_of(kinds, "held-out")
        for name, wanted in ((NEW_COMBINATIONS, new_combination), (NEW_SPEEDS, new_speed)):
            scenes = self.scenes(new, count, wanted)
            if scenes:
                found[name] = scenes
        return found

    def scenes(self, world: World, count: int, wanted: Callable[[Scene], bool] | None = None) -> list[Scene]:
        """The first `count` scenes that are `wanted`, fewer where those are rare."""
        found: list[Scene] = []
        for index in count_from():
            if len(found) == count or index >= _MOST_SCENES * count:
                return found
            try:
                scene = world.scene(index)
            except WorldConfigError:
                return found
            if wanted is None or wanted(scene):
                found.append(scene)
        return found

    def draw(self, prompts: Sequence[str], shapes: Sequence[ClipShape], first_seed: int = 0) -> list[Video]:
        """The model's clip uint8 (T, H, W, 3) of each prompt and shape; those of one shape share batches.

        Raises `ModelError` where the model does not generate such clips.
        """
        clips: dict[int, Video] = {}
        for shape in dict.fromkeys(shapes):
            places = [place for place, one in enumerate(shapes) if one == shape]
            for first in range(0, len(places), self.plan.batch):
                part = places[first : first + self.plan.batch]
                self.on_progress(self.section, len(clips), len(prompts))
                made = self.model.generate_batch(
                    [prompts[place] for place in part],
                    [self.seed_of(first_seed + place) for place in part],
                    frames=shape.frames,
                    height=shape.height,
                    width=shape.width,
                    fps=shape.fps,
                    steps=self.plan.steps,
                    guidance_scale=self.plan.guidance_scale,
                )
                clips.update(zip(part, made, strict=True))
        self.on_progress(self.section, len(prompts), len(prompts))
        return [clips[place] for place in range(len(prompts))]

    def complete(self, task: Task, prompts: Sequence[str], inputs: Sequence[TaskInputs]) -> list[Video]:
        """The model's clip uint8 (T, H, W, 3) for each prompt and its inputs, in its own shape. Raises `ModelError`."""
        clips = []
        for place, (prompt, each) in enumerate(zip(prompts, inputs, strict=True)):
            self.on_progress(f"{self.section}: {task}", place, len(prompts))
            made = self.model.complete(
                task,
                prompt,
                self.seed_of(place),
                each,
                frames=self.length,
                steps=self.plan.steps,
                guidance_scale=self.plan.guidance_scale,
            )
            clips.append(made.video)
        self.on_progress(f"{self.section}: {task}", len(prompts), len(prompts))
        return clips

    def stream(self, shots: Sequence[Shot], place: int) -> Iterator[Video]:
        """The model's stream of these shots in its own size, chunk (t, H, W, 3) after chunk. Raises `ModelError`."""
        return self.model.stream(
            shots, self.seed_of(place), steps=self.plan.steps, guidance_scale=self.plan.guidance_scale
        )

    def extend(self, scenes: Sequence[Scene], lengths: Sequence[int]) -> list[Video]:
        """The model's clips (T, H, W, 3) that continue the first frames of true clips. Raises `ModelError`.

        Prompts say nothing, so that what must follow is told by these frames alone.
        """
        truth = true_clips(scenes)
        inputs = [
            inputs_for(Task.EXTEND, self.shape.frames, pixels(clip[:count]))
            for clip, count in zip(truth, lengths, strict=True)
        ]
        return self.complete(Task.EXTEND, [NOTHING_SAID] * len(inputs), inputs)

    def seed_of(self, place: int) -> int:
        """A seed of the sampler that no training uses."""
        return _FIRST_SEED + self.plan.seed * 100_000 + place

    def at_least(self, frames: int) -> "EvaluationContext":
        """The same with clips of so many frames or more, as far as the model was trained on such; else itself."""
        known = [length for length in self.world.shapes.frames if frames <= length <= self.model.config.max_frames]
        if self.shape.frames >= frames or not known:
            return self
        return replace(self, length=min(known))

    def of(self, section: str) -> "EvaluationContext":
        """The same for another section, whose scenes are its own."""
        return replace(self, section=section)


def new_combination(scene: Scene) -> bool:
    """Whether an object of the scene has a combination of colour, shape and motion that is held out."""
    return any(
        combination_held_out(
            track.appearance.colour, track.appearance.shape, track.motion or Motion.STILL, track.heading
        )
        for track in scene.tracks
    )


def new_speed(scene: Scene) -> bool:
    """Whether a speed of the scene is held out and no combination is."""
    speeds = [track.speed for track in scene.tracks] + [shot.pan_speed for shot in scene.shots]
    return not new_combination(scene) and any(speed_held_out(speed) for speed in speeds if speed is not None)


def true_clips(scenes: Sequence[Scene]) -> list[Video]:
    """The scenes as the world draws them, uint8 (T, H, W, 3) each."""
    return [clip.numpy() for clip in draw_many(scenes)]


def facts_read(video: Video, kind: SceneKind, fps: float) -> Facts:
    """The facts that are read from a clip uint8 (T, H, W, 3) at `fps` frames per second.

    Simple scenes have a reader of their own, which tolerates the blurred clips of small models. Raises `ClipError`.
    """
    if kind is not SceneKind.SIMPLE:
        return read(video, fps).facts
    found = parse(video)
    if found is None:
        return Facts(None, (ShotFacts(()),))
    motion = Motion.STRAIGHT if found.direction else None
    thing = ObjectFacts(found.colour, found.shape, motion=motion, heading=found.direction)
    return Facts(SceneKind.SIMPLE if motion else None, (ShotFacts((thing,)),))

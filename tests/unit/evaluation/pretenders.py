"""Models that draw the truth, or lie in one chosen way: what an evaluation must tell apart."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np

from kinema_evaluation.open_length import true_stream
from kinema_evaluation.plan import true_clips
from kinema_evaluation.shots import prompts_of
from kinema_evaluation.staged import named
from kinema_model.codec.codec import pixels
from kinema_model.conditions.conditioning import paste
from kinema_model.conditions.task_inputs import TaskInputs
from kinema_model.conditions.tasks import TRAINED_BY, Task
from kinema_model.config import ModelConfig, StreamingConfig
from kinema_model.pipeline import Asked, Completed
from kinema_model.streaming.chunking import chunk_rows
from kinema_model.streaming.stream import Shot, trained_streaming
from kinema_world import ClipShape, Scene, Video

Lie = Callable[[Scene], Scene]
Spoil = Callable[[Video], Video]
EVERY_TASK = tuple(task for task in Task if task not in TRAINED_BY)


def config_of(frames: int = 16, height: int = 32, width: int = 32, tasks: tuple[Task, ...] = EVERY_TASK) -> ModelConfig:
    """The tiny preset with a clip of this shape."""
    return ModelConfig.from_preset("tiny", frames=frames, height=height, width_px=width, fps=8, tasks=tasks)


def streaming_config(frames: int = 16, height: int = 32, width: int = 32) -> ModelConfig:
    """The same for a model that streams in chunks of half a second."""
    streaming = StreamingConfig(chunk_frames=4, window_chunks=2)
    fields = {"frames": frames, "height": height, "width_px": width, "fps": 8, "streaming": streaming}
    return ModelConfig.from_preset("tiny", places="space", tasks=(Task.TEXT,), **fields)


class Pretender:
    """Draws the scene that it is asked for, after a lie about the scene or a spoilt clip.

    It knows every scene that was asked of it beforehand (`known`), by caption and shape. Only a `careful` one gives
    back what it was given as it was.
    """

    def __init__(
        self,
        known: Sequence[Scene],
        config: ModelConfig,
        lie: Lie | None = None,
        spoil: Spoil | None = None,
        *,
        careful: bool = True,
    ) -> None:
        self._careful = careful
        self.config = config
        self._known, self._lie, self._spoil = known, lie, spoil

    def generate_batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        **how: Unpack[Asked],
    ) -> Video:
        """As `Pipeline.generate_batch`."""
        config = self.config
        shape = ClipShape(
            how.get("frames") or config.frames,
            how.get("height") or config.height,
            how.get("width") or config.width_px,
            config.rate(how.get("fps")),
        )
        clips = [self._drawn(self._asked(prompt, shape)[-1]) for prompt in prompts]
        return np.stack(clips)

    def complete(
        self,
        task: Task,
        prompt: str,
        seed: int,
        inputs: TaskInputs,
        **how: Unpack[Asked],
    ) -> Completed:
        """As `Pipeline.complete`: of the scenes with this prompt, the one whose true clip has the given frames."""
        shape = ClipShape(
            how.get("frames") or self.config.frames, self.config.height, self.config.width_px, self.config.fps
        )
        candidates = self._asked(prompt, shape) if prompt else [one for one in self._known if one.shape == shape]
        candidates = candidates or [one for one in self._known if one.shape == shape and named(one) == prompt]
        scene = min(candidates, key=lambda one: self._distance(one, inputs))
        made = pixels(self._drawn(scene))
        made = paste(made, inputs, self.config.patch) if self._careful else made
        video = ((made + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0).numpy()
        return Completed(video, ())

    def stream(
        self,
        shots: Sequence[Shot],
        seed: int,
        **how: Unpack[Asked],
    ) -> Iterator[Video]:
        """As `Pipeline.stream`: a bounce that goes on for ever, or a scene of two shots by the captions of both."""
        config = self.config
        streaming, prompts = trained_streaming(config), tuple(shot.prompt for shot in shots)
        lengths = [
            config.patch[0] * rows
            for shot in shots
            for rows in chunk_rows(config, streaming, config.rows_for(shot.seconds))
        ]
        scene = next(one for one in self._known if prompts in ((one.captions.short,), prompts_of(one)))
        told = scene if self._lie is None else self._lie(scene)
        clip = np.concatenate(list(true_stream(told, lengths))) if len(shots) == 1 else true_clips([told])[0]
        clip = clip if self._spoil is None else self._spoil(clip)
        first = 0
        for length in lengths:
            yield clip[first : first + length]
            first += length

    def _asked(self, prompt: str, shape: ClipShape) -> list[Scene]:
        return [scene for scene in self._known if scene.captions.short == prompt and scene.shape == shape]

    def _distance(self, scene: Scene, inputs: TaskInputs) -> float:
        true = pixels(true_clips([scene])[0])
        distance = 0.0 if inputs.source is None else float((true - inputs.source).abs().mean())
        for segment in inputs.segments:
            there = true[:, segment.at : segment.at + segment.video.shape[1]]
            if there.shape == segment.video.shape:
                distance += float((there - segment.video).abs().mean())
        return distance

    def _drawn(self, scene: Scene) -> Video:
        told = scene if self._lie is None else self._lie(scene)
        (clip,) = true_clips([told])
        return clip if self._spoil is None else self._spoil(clip)


def with_looks(scene: Scene, change: Callable[[list[str]], list[str]], field: str) -> Scene:
    """The scene with the colours or shapes of each shot's objects changed."""
    shots = []
    for shot in scene.shots:
        values = change([getattr(track.appearance, field) for track in shot.tracks])
        tracks = tuple(
            replace(track, appearance=replace(track.appearance, **{field: value}))
            for track, value in zip(shot.tracks, values, strict=True)
        )
        shots.append(replace(shot, tracks=tracks))
    return replace(scene, shots=tuple(shots))


def turned(values: list[str]) -> list[str]:
    """Every value on the next object."""
    return values[1:] + values[:1]


def recoloured(values: list[str]) -> list[str]:
    """Every colour another one."""
    palette = ["red", "green", "blue", "yellow", "magenta", "white"]
    return [palette[(palette.index(value) + 1) % len(palette)] for value in values]


def backwards(clip: Video) -> Video:
    """The clip from its end to its start."""
    return np.ascontiguousarray(clip[::-1])


def frozen(clip: Video) -> Video:
    """The first frame for ever."""
    return np.repeat(clip[:1], len(clip), axis=0)

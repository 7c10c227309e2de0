"""Is the frame rate a condition: a prompt that is asked for at several rates must show one speed in px per second.

A model that hears nothing of the rate moves objects by as many px per frame at each, so three times as fast at 24 fps
as at 8. Clips are asked for in words alone: frames that are given would tell the motion from one to the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import mean, median
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import ContactSheet, Curve, ReportClip, Row, Section
from kinema_evaluation.tracking import Floats, objects, places, velocity
from kinema_model.conditions.tasks import Task
from kinema_world import ClipShape, Scene, SceneKind, Track, Video
from kinema_world.errors import WorldConfigError
from kinema_world.motion import straight
from kinema_world.scene import visible_share

EQUAL: Final = "equal speed"
OFF: Final = "speed off"
MEAN: Final = "mean speed"
DEAF: Final = "as many px per frame"
TRUE: Final = "true clips"
_NEAR: Final = 0.2
# What a clip whose object cannot be read is off by: as much as one in which it stands still.
_LOST: Final = 1.0
_LEAST_FRAMES: Final = 5
_SHOWN: Final = 3

Speeds = dict[int, list[float | None]]
"""Of each rate the mean speed in px/s of the objects of each clip, None where one cannot be read."""


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` where the model knows one rate, or its world has nothing that moves straight ahead."""
    config = examination.model.config
    if len(config.rates) < 2:
        raise SkippedSection(
            "The model was trained at one frame rate, so it cannot be asked for equal speed at others."
        )
    if not examination.can(Task.TEXT):
        raise SkippedSection("The model was not trained to make clips from words alone.")
    shapes = _shapes(examination)
    scenes, simple = _scenes(examination, shapes[config.fps])
    prompts = [scene.captions.short if simple else scene.captions.rich for scene in scenes]
    asked = {rate: [at_rate(scene, shape) for scene in scenes] for rate, shape in shapes.items()}
    clips = {rate: examination.draw(prompts, [scene.shape for scene in of]) for rate, of in asked.items()}
    measured = {rate: _speeds(asked[rate], clips[rate]) for rate in shapes}
    truth = {rate: _speeds(asked[rate], true_clips(asked[rate])) for rate in shapes}
    deaf: Speeds = {
        rate: [None if speed is None else speed * rate / config.fps for speed in truth[config.fps]] for rate in shapes
    }
    remark = (
        "Words for speed stand for ranges, and clips of one prompt may rightly differ within them: only the mean speed "
        "must not depend on the rate."
    )
    return Section(
        title="Frame rates",
        question="Is equal speed in px per second shown at every frame rate?",
        rows=tuple(_rows(config.fps, measured, truth, deaf, simple=simple)),
        curves=(_curve(measured, {TRUE: truth, DEAF: deaf}),),
        remarks=() if simple else (remark,),
        sheets=tuple(_sheets(prompts, clips, measured)),
    )


def _shapes(examination: EvaluationContext) -> dict[int, ClipShape]:
    """The clip at each rate, of one length in seconds that all of them have been seen in."""
    own, config = examination.shape, examination.model.config
    longest = min(config.max_frames, max(examination.world.shapes.frames))
    seconds = min(own.frames / own.fps, longest / max(config.rates))
    return {
        rate: replace(own, frames=config.grid.frames_of(config.rows_for(seconds, rate)), fps=rate)
        for rate in sorted(config.rates)
    }


def _scenes(examination: EvaluationContext, shape: ClipShape) -> tuple[list[Scene], bool]:
    """Scenes of objects that move straight ahead, and whether their captions alone fix how fast."""
    for kind in (SceneKind.SIMPLE, SceneKind.SEVERAL):
        if kind in examination.world.wanted and shape.frames >= _LEAST_FRAMES:
            try:
                world = examination.world_of((kind,), examination.world.split, shape=shape)
            except WorldConfigError:
                continue
            if scenes := examination.scenes(world, examination.plan.completions):
                return scenes, kind is SceneKind.SIMPLE
    raise SkippedSection("Nothing in the model's world moves straight ahead for five frames of its lowest rate.")


def at_rate(scene: Scene, shape: ClipShape) -> Scene:
    """A scene of objects that move straight ahead, in the frames and at the rate of `shape`."""
    (shot,) = scene.shots
    times = np.arange(shape.frames) / shape.fps
    tracks = tuple(_at_times(track, times, shape) for track in shot.tracks)
    still = np.zeros((shape.frames, 2))
    return replace(scene, shape=shape, shots=(replace(shot, frames=shape.frames, tracks=tracks, camera=still),))


def _at_times(track: Track, times: Floats, shape: ClipShape) -> Track:
    trajectory = straight(track.positions[0], track.velocities[0], times)
    return replace(
        track,
        positions=trajectory.positions,
        world_positions=trajectory.positions,
        velocities=trajectory.velocities,
        visible=visible_share(track.appearance, trajectory.positions, None, shape),
        hidden_by=(None,) * len(times),
    )


def _speeds(scenes: Sequence[Scene], clips: Sequence[Video]) -> list[float | None]:
    return [_speed(scene, clip) for scene, clip in zip(scenes, clips, strict=True)]


def _speed(scene: Scene, clip: Video) -> float | None:
    """Mean speed in px/s of the objects that the caption names, None where one of them cannot be followed."""
    there = objects(clip, scene.shape.fps)
    speeds = []
    for track in scene.shots[0].tracks:
        measured = velocity(
            places(there.get(track.appearance.colour), scene.shape.frames), 0, scene.shape.frames, scene.shape.fps
        )
        if measured is None or not np.any(measured):
            return None
        speeds.append(float(np.linalg.norm(measured)))
    return float(np.mean(speeds))


def equal(speeds: Sequence[float | None]) -> bool:
    """Whether the speeds of one prompt at all rates lie within 20 % of the least of them."""
    known = [speed for speed in speeds if speed is not None]
    return len(known) == len(speeds) and max(known) <= (1 + _NEAR) * min(known)


def _rows(base: int, measured: Speeds, truth: Speeds, deaf: Speeds, *, simple: bool) -> list[Row]:
    score, floor, control = (
        mean([float(equal(one)) for one in zip(*of.values(), strict=True)]) for of in (measured, truth, deaf)
    )
    assert score is not None
    assert control is not None
    rows = [
        Row(
            name=EQUAL,
            meaning="prompts whose objects are equally fast, within 20 %, at all rates",
            score=score,
            floor=floor,
            chance=control.value,
            controls={DEAF: control},
            unreadable=sum(speed is None for of in measured.values() for speed in of),
        )
    ]
    for rate in measured:
        if rate != base:
            rows += _at_one(base, rate, (measured, truth, deaf), simple=simple)
    return rows


def _at_one(base: int, rate: int, of: tuple[Speeds, Speeds, Speeds], *, simple: bool) -> list[Row]:
    """How far the speed at one rate is from that at the model's own."""
    off = [median([_off(a, b) for a, b in zip(one[rate], one[base], strict=True)]) for one in of]
    change = [mean(_changes(one[rate], one[base])) for one in of]
    row_of_off = partial(
        Row,
        name=OFF,
        meaning=f"how far the speed is from that at {base} fps, as a share of it (median of prompts)",
        bar=_NEAR if simple else None,
        better="lower",
        unit="ratio",
    )
    row_of_change = partial(
        Row,
        name=MEAN,
        meaning=f"the mean speed less that at {base} fps, as a share of it, over prompts read at both",
        unit="difference",
    )
    rows = []
    for row, (score, floor, control) in ((row_of_off, off), (row_of_change, change)):
        if score is not None and control is not None:
            controls = {DEAF: control}
            rows.append(row(group=f"{rate} fps", score=score, floor=floor, chance=control.value, controls=controls))
    return rows


def _off(speed: float | None, base: float | None) -> float:
    return _LOST if speed is None or base is None else abs(speed / base - 1)


def _changes(speeds: Sequence[float | None], base: Sequence[float | None]) -> list[float]:
    """Each clip's change of speed as a share of the mean speed."""
    both = [(a, b) for a, b in zip(speeds, base, strict=True) if a is not None and b is not None]
    usual = float(np.mean([b for _, b in both])) if both else 1.0
    return [(a - b) / usual for a, b in both]


def _curve(measured: Speeds, beside: Mapping[str, Speeds]) -> Curve:
    def means(of: Speeds) -> tuple[float, ...]:
        known = [[speed for speed in of[rate] if speed is not None] for rate in measured]
        return tuple(float(np.mean(speeds)) if speeds else 0.0 for speeds in known)

    return Curve(
        name="mean speed in px/s",
        across="frames per second",
        x=tuple(float(rate) for rate in measured),
        y=means(measured),
        beside={name: means(of) for name, of in beside.items()},
    )


def _sheets(prompts: Sequence[str], clips: Mapping[int, Sequence[Video]], measured: Speeds) -> list[ContactSheet]:
    """Each prompt at all rates side by side, every clip at its own."""
    sheets = []
    for place, prompt in enumerate(prompts[:_SHOWN]):
        good = equal([measured[rate][place] for rate in measured])
        shown = [
            ReportClip(f"{rate} fps: {_words(measured[rate][place])}", clips[rate][place], good, fps=float(rate))
            for rate in measured
        ]
        sheets.append(ContactSheet(f"At every rate: {prompt}", tuple(shown)))
    return sheets


def _words(speed: float | None) -> str:
    return "cannot be read" if speed is None else f"{speed:.1f} px/s"

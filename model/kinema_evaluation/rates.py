"""Is the frame rate a condition: a prompt that is asked for at several rates must show one speed in px per second.

A model that hears nothing of the rate moves objects by as many px per frame at each, so three times as fast at 24 fps
as at 8. Clips are asked for in words alone: frames that are given would tell the motion from one to the next. Captions
must fix px per second, so scenes are those of several objects, whose rich captions have words for ranges of speed.
Simple scenes fix none: they cross the same share of the frame in a clip of any length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import difference, mean, median
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import ContactSheet, Curve, ReportClip, Row, Section
from kinema_evaluation.tracking import Floats, objects, places, velocity
from kinema_model.conditions.tasks import Task
from kinema_world import ClipShape, Scene, SceneKind, Track, Video
from kinema_world.errors import WorldConfigError
from kinema_world.motion import straight
from kinema_world.scene import visible_share
from kinema_world.vocabulary import SPEEDS, speed_word

TOLD: Final = "speed as told"
EQUAL: Final = "equal speed"
OFF: Final = "speed off"
MEAN: Final = "mean speed"
DEAF: Final = "as many px per frame"
TRUE: Final = "true clips"
_NEAR: Final = 0.2
# What a clip whose object cannot be read is off by: as much as one in which it stands still.
_LOST: Final = 1.0
# By which a speed may lie outside the range of its word: the gaps between ranges are wider.
_SLACK: Final = 0.15
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
    scenes = _scenes(examination, shapes[config.fps])
    prompts = [scene.captions.rich for scene in scenes]
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
        rows=(*_told_rows(scenes, measured, truth, deaf), *_rows(config.fps, measured, truth, deaf)),
        curves=(_curve(measured, {TRUE: truth, DEAF: deaf}),),
        remarks=(remark,),
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


def _scenes(examination: EvaluationContext, shape: ClipShape) -> list[Scene]:
    """Scenes of objects that move straight ahead as fast as their captions say. Raises `SkippedSection`."""
    if SceneKind.SEVERAL not in examination.world.wanted:
        raise SkippedSection(
            "Nothing in the model's world has a speed in px per second that its caption tells: simple scenes cross the "
            "same share of the frame in a clip of any length. Train on a world with several objects."
        )
    if shape.frames >= _LEAST_FRAMES:
        try:
            world = examination.world_of((SceneKind.SEVERAL,), examination.world.split, shape=shape)
            if scenes := examination.scenes(world, examination.plan.completions):
                return scenes
        except WorldConfigError:
            pass
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
    """Mean speed in px/s of the objects that the caption names.

    None where one of them cannot be followed or there is one more, such as a part of it in another colour.
    """
    there = objects(clip, scene.shape.fps)
    if there.keys() - {track.appearance.colour for track in scene.shots[0].tracks}:
        return None
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


def _told_rows(scenes: Sequence[Scene], measured: Speeds, truth: Speeds, deaf: Speeds) -> list[Row]:
    """At each rate, whether the speed lies within the words of the caption."""
    rows = []
    for rate in measured:
        score, floor, control = (
            mean([float(_as_told(scene, speed)) for scene, speed in zip(scenes, of[rate], strict=True)])
            for of in (measured, truth, deaf)
        )
        assert score is not None
        rows.append(
            Row(
                name=TOLD,
                group=f"{rate} fps",
                meaning="clips whose mean speed lies within the range of the caption's words for speed",
                score=score,
                floor=floor,
                controls={} if control is None else {DEAF: control},
                unreadable=sum(speed is None for speed in measured[rate]),
            )
        )
    return rows


def _as_told(scene: Scene, speed: float | None) -> bool:
    """Whether a mean speed in px/s lies within the means of the ranges that the objects' words stand for."""
    words = [speed_word(track.speed) for track in scene.shots[0].tracks if track.speed is not None]
    if speed is None or None in words:
        return False
    ranges = np.array([SPEEDS[str(word)] for word in words]) * scene.shape.side
    low, high = ranges.mean(axis=0)
    return bool(low * (1 - _SLACK) <= speed <= high * (1 + _SLACK))


def _rows(base: int, measured: Speeds, truth: Speeds, deaf: Speeds) -> list[Row]:
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
            rows += _at_one(base, rate, (measured, truth, deaf))
    return rows


def _at_one(base: int, rate: int, of: tuple[Speeds, Speeds, Speeds]) -> list[Row]:
    """How far the speed at one rate is from that at the model's own."""
    off = [median([_off(a, b) for a, b in zip(one[rate], one[base], strict=True)]) for one in of]
    change = [difference(_changes(one[rate], one[base])) for one in of]
    row_of_off = partial(
        Row,
        name=OFF,
        meaning=f"how far the speed is from that at {base} fps, as a share of it (median of prompts)",
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

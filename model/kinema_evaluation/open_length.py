"""Does a long clip stay what it was: streams of one object that bounces, judged chunk by chunk to their end.

An object that keeps to its law stays in view for ever only where it turns at walls, so streams are of bounces. They
are at a slant, and such that the true trajectory repeats no second, as one along an axis does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import mean
from kinema_evaluation.drift import ENDS, HOLDS, Drift, Stream, attributes, controls, drift
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import ContactSheet, Curve, ReportClip, Row, Section
from kinema_evaluation.staged import going_on
from kinema_model.config import StreamingConfig
from kinema_model.streaming.chunking import chunk_rows
from kinema_model.streaming.stream import Shot
from kinema_world import COLOURS, SHAPES, ObjectFacts, Scene, SceneKind, Video
from kinema_world.vocabulary import DIAGONALS

EVERYTHING: Final = "everything"
FIRST: Final = "attributes, first 10 s"
LAST: Final = "attributes, last 10 s"
LAWFUL: Final = "moves by the law"
NEW: Final = "no second repeated"
RIGHT: Final = "right over time"
TRUE: Final = "true clips"
# Scenes tried for each whose true trajectory repeats nothing.
_MORE: Final = 4
_SHOWN: Final = 3
_PIECES: Final = 8
_MEANING: Final = {
    EVERYTHING: (
        f"streams in which {100 * HOLDS:.0f} % or more of the attributes in the last ten seconds, of all chunks and of "
        "all seconds are right"
    ),
    FIRST: "colours and shapes in the first ten seconds",
    LAST: "colours and shapes in the last ten seconds",
    LAWFUL: "chunks in which the object goes on at its speed and turns only at walls",
    NEW: "seconds that repeat none before them",
}
_FIGURES: Final[dict[str, Callable[[Drift], float]]] = {
    EVERYTHING: lambda found: float(found.holds),
    FIRST: lambda found: found.attributes(0, ENDS),
    LAST: lambda found: found.last,
    LAWFUL: lambda found: found.lawful,
    NEW: lambda found: found.new_seconds,
}


@dataclass(frozen=True)
class _Judged:
    """Streams of the model, of truth, and of each rule on the model's own beginnings, with what is to be looked at."""

    model: list[Drift] = field(default_factory=list)
    truth: list[Drift] = field(default_factory=list)
    rules: dict[str, list[Drift]] = field(default_factory=dict)
    sheets: list[ContactSheet] = field(default_factory=list)


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` where the model does not stream, or its world has nothing that stays in view."""
    streaming = examination.model.config.streaming
    if streaming is None:
        raise SkippedSection("The model was not trained to stream, so it makes no clip of open length.")
    if SceneKind.BOUNCE not in examination.kinds():
        raise SkippedSection(
            "The model's world has no scenes that bounce within its own clip, and nothing else in it stays in view "
            "for a minute by its law. Train on a world with bounces."
        )
    config = examination.model.config
    rows = chunk_rows(config, streaming, config.rows_for(examination.plan.seconds))
    lengths = [config.grid.frames_of(count) for count in rows]
    judged = _Judged()
    for place, (scene, truth) in enumerate(_chosen(examination, lengths)):
        judged.truth.append(truth)
        _judge(examination, streaming, scene, lengths, place, judged)
    if not judged.model:
        raise SkippedSection("No scene of the model's world bounces at a slant without coming back to where it was.")
    return Section(
        title="Drift",
        question=f"Does a clip of {examination.plan.seconds:g} s stay what it was, to its end?",
        rows=(*_rows(judged), *_spans(judged, examination.plan.seconds)),
        curves=_curves(judged),
        remarks=tuple(_passing(judged)),
        sheets=tuple(judged.sheets),
    )


def _chosen(examination: EvaluationContext, lengths: Sequence[int]) -> Iterator[tuple[Scene, Drift]]:
    """Scenes at a slant whose true trajectory repeats no second, with the drift of their true clips."""
    world = examination.world_of((SceneKind.BOUNCE,), examination.world.split)
    left = examination.plan.streams
    for scene in examination.scenes(world, _MORE * left, _slanting):
        truth = drift(Stream(scene.facts.brief(), true_stream(scene, lengths), scene.shape.fps))
        if truth.new_seconds >= HOLDS:
            yield scene, truth
            left -= 1
        if not left:
            return


def _slanting(scene: Scene) -> bool:
    return scene.tracks[0].heading in DIAGONALS


def true_stream(scene: Scene, lengths: Sequence[int]) -> Iterator[Video]:
    """Chunks (t, H, W, 3) of so many frames each, of an object that bounces without end."""
    first = 0
    for length in lengths:
        yield true_clips([going_on(scene, first, length)])[0]
        first += length


def _judge(
    examination: EvaluationContext,
    streaming: StreamingConfig,
    scene: Scene,
    lengths: Sequence[int],
    place: int,
    judged: _Judged,
) -> None:
    """Stream one scene and the rules on its first chunk."""
    fps = examination.model.config.fps
    wanted = set(np.linspace(0, len(lengths) - 1, min(_PIECES, len(lengths))).round().astype(int).tolist())
    kept: dict[int, Video] = {}
    shot = Shot(scene.captions.short, examination.plan.seconds)
    total = examination.plan.streams * len(lengths)

    def coming(chunks: Iterable[Video]) -> Iterator[Video]:
        for number, chunk in enumerate(chunks):
            examination.on_progress(examination.section, place * len(lengths) + number + 1, total)
            if number in wanted:
                kept[number] = chunk
            yield chunk

    asked = scene.facts.brief()
    found = drift(Stream(asked, coming(examination.stream([shot], place)), fps))
    judged.model.append(found)
    for name, make in controls(kept[0], fps, sum(lengths)).items():
        judged.rules.setdefault(name, []).append(drift(Stream(asked, make(), fps)))
    if place < _SHOWN:
        judged.sheets.append(_sheet(scene.captions.short, found, kept, streaming.chunk_frames / fps))


def _sheet(prompt: str, found: Drift, kept: dict[int, Video], seconds: float) -> ContactSheet:
    shown = [
        ReportClip(
            f"{found.chunks[number].at:.1f} to {found.chunks[number].at + seconds:.1f} s",
            chunk,
            found.right[number] == 1,
        )
        for number, chunk in kept.items()
    ]
    return ContactSheet(f"Chunks of one stream: {prompt}", tuple(shown))


def _rows(judged: _Judged) -> Iterator[Row]:
    for name, figure in _FIGURES.items():
        score = mean([figure(found) for found in judged.model])
        if score is None:
            continue
        ruled = {rule: of for rule, found in judged.rules.items() if (of := mean([figure(one) for one in found]))}
        chance = _chance() if name in (FIRST, LAST) else None
        yield Row(
            name=name,
            meaning=_MEANING[name],
            score=score,
            floor=mean([figure(found) for found in judged.truth]),
            chance=chance,
            controls=ruled,
        )


def _chance() -> float:
    """Attributes right of one object where any other is drawn."""
    asked = [ObjectFacts(next(iter(COLOURS)), SHAPES[0])]
    return float(np.mean([attributes(asked, [ObjectFacts(*appearance)]) for appearance in product(COLOURS, SHAPES)]))


def _spans(judged: _Judged, seconds: float) -> Iterator[Row]:
    """Attributes ten seconds at a time, where these are more than the first and the last."""
    if seconds <= 2 * ENDS:
        return
    for begin in np.arange(0, seconds, ENDS):
        end = min(begin + ENDS, seconds)
        values, truth = (
            [share for found in of if not np.isnan(share := found.attributes(begin, end))]
            for of in (judged.model, judged.truth)
        )
        if (score := mean(values)) is not None:
            yield Row(
                name=f"{begin:g} to {end:g} s",
                group="attributes, ten seconds at a time",
                meaning="colours and shapes in these seconds",
                score=score,
                floor=mean(truth),
                chance=_chance(),
            )


def _curves(judged: _Judged) -> tuple[Curve, ...]:
    times = tuple(chunk.at for chunk in min(judged.model, key=lambda found: len(found.chunks)).chunks)
    figures: dict[str, Callable[[Drift], Sequence[float]]] = {
        f"{RIGHT}: colour, shape, law and nothing repeated": lambda found: found.right,
        "colour and shape": lambda found: [chunk.attributes for chunk in found.chunks],
        LAWFUL: lambda found: [float(chunk.lawful) for chunk in found.chunks],
    }
    beside = {TRUE: judged.truth, **judged.rules}
    return tuple(
        Curve(
            name=name,
            across="seconds",
            x=times,
            y=_means(judged.model, figure, len(times)),
            beside={other: _means(found, figure, len(times)) for other, found in beside.items()},
        )
        for name, figure in figures.items()
    )


def _means(drifts: Sequence[Drift], figure: Callable[[Drift], Sequence[float]], count: int) -> tuple[float, ...]:
    return tuple(float(np.mean(at)) for at in zip(*(figure(found)[:count] for found in drifts), strict=True))


def _passing(judged: _Judged) -> Iterator[str]:
    """A rule that passes shows that the measure cannot tell drift here."""
    for rule, found in judged.rules.items():
        if passed := sum(one.holds for one in found):
            yield f"The control {rule!r} passes in {passed} of {len(found)} streams: there, holding on tells nothing."

"""As a whole, do generated clips look like recorded ones: Fréchet distance and MMD in features without a network.

A distance is only worth something where it grows as clips get worse, so the page shows it for true clips that are
blurred, noisy, shuffled, frozen, and mixed with clips of another source.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Final

from kinema_evaluation.bootstrap import distance
from kinema_evaluation.distances import Floats, frechet, median_distance, mmd
from kinema_evaluation.distribution import FRECHET, MMD
from kinema_evaluation.plan import EvaluationContext
from kinema_evaluation.recorded.clips import RecordedBench, bench_of_text, remarks_of, spread_over
from kinema_evaluation.recorded.controls import MEAN, STILL, WORSE, mean_clip, still
from kinema_evaluation.recorded.features import FeatureSpace
from kinema_evaluation.report import Curve, Row, Section
from kinema_world import Video

OTHER_SOURCE: Final = "another source"
_AMOUNTS: Final = (0.0, 0.25, 0.5, 1.0)


def examine(context: EvaluationContext) -> Section:
    """Raises `SkippedSection` without recorded clips."""
    bench = bench_of_text(context)
    held_out, training = ([shown.video for shown in of] for of in (bench.held_out, bench.training))
    space = FeatureSpace.of(training, min(len(held_out), len(bench.made)))
    true, made = space.reduced(held_out), space.reduced(bench.made)
    # As many training clips as generated ones, since a distance of few clips is larger.
    fresh = space.reduced(spread_over(bench.training, len(made)))
    rules = {STILL: space.reduced([still(clip) for clip in held_out])}
    rules[MEAN] = space.reduced([mean_clip(training)] * len(made))
    width = median_distance(true)
    measures: dict[str, Callable[[Floats, Floats], float]] = {FRECHET: frechet, MMD: partial(mmd, width=width)}
    rows = []
    for name, measure in measures.items():
        score, floor, *ruled = (
            distance(of, true, measure, 0.0 if name == FRECHET else -inf) for of in (made, fresh, *rules.values())
        )
        rows.append(
            Row(
                name=name,
                meaning="distance of generated from held-out clips in colours, edges and motion",
                score=score,
                floor=floor,
                controls=dict(zip(rules, ruled, strict=True)),
                better="lower",
                unit="distance",
            )
        )
    curves = tuple(curve for name in (*WORSE, OTHER_SOURCE) for curve in _sanity(name, bench, space, true, width))
    return Section(
        title="Likeness",
        question="As a whole, do generated clips look like recorded ones?",
        rows=tuple(rows),
        curves=curves,
        remarks=(*remarks_of(bench), *_remarks(curves, len(space.axes))),
    )


def _sanity(name: str, bench: RecordedBench, space: FeatureSpace, true: Floats, width: float) -> list[Curve]:
    """Both distances of training clips that get worse from held-out ones."""
    clips = spread_over(bench.training, len(true))
    worse = [space.reduced(_worse(name, bench, clips, amount)) for amount in _AMOUNTS]
    return [
        Curve(name=FRECHET, across=name, x=_AMOUNTS, y=tuple(frechet(of, true) for of in worse)),
        Curve(name=MMD, across=name, x=_AMOUNTS, y=tuple(mmd(of, true, width) for of in worse)),
    ]


def _worse(name: str, bench: RecordedBench, clips: Sequence[Video], amount: float) -> list[Video]:
    if name == OTHER_SOURCE:
        count = round(amount * len(clips))
        return [*bench.of_other_source(count), *clips[count:]]
    return [WORSE[name](clip, amount, number) for number, clip in enumerate(clips)]


def _remarks(curves: Sequence[Curve], axes: int) -> list[str]:
    remarks = [
        f"Features are colours, edges and motion along the {axes} axes along which training clips differ most. They "
        "are not the FVD of the literature, and compare with no other data and no other number of clips. True clips "
        "are those of the training."
    ]
    flat = [f"{curve.name} under {curve.across}" for curve in curves if curve.y[-1] <= curve.y[0]]
    if flat:
        remarks.append(f"Not to be trusted: {', '.join(flat)} did not grow, though the clips got worse.")
    return remarks

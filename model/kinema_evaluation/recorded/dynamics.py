"""Do generated clips move like true ones: whether their motion is spread over clips as that of held-out clips is.

A measure that a still picture passes would praise models that draw stills, and one that asks for a range would praise a
model that draws the mean for ever. So distributions are compared. A still picture, frames out of order, the mean clip
and pasted clips stand beside it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import difference, distance
from kinema_evaluation.distribution import shuffled
from kinema_evaluation.plan import EvaluationContext
from kinema_evaluation.recorded.clips import RecordedBench, bench_of_text, remarks_of, spread_over
from kinema_evaluation.recorded.controls import MEAN, PASTED, SHUFFLED, STILL, mean_clip, still
from kinema_evaluation.recorded.features import Floats
from kinema_evaluation.recorded.measures import CONSISTENCY, MEANING, Measure, measures_for
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Score, Section
from kinema_world import Video

ALL: Final = "everything"
AGREEMENT: Final = "agreement with true clips"
VALUES: Final = "values"
_MODEL: Final = ""
_SHOWN: Final = 4


def examine(context: EvaluationContext) -> Section:
    """Raises `SkippedSection` without recorded clips."""
    bench = bench_of_text(context)
    training = [shown.video for shown in bench.training]
    measures, held_out = measures_for(training), [shown.video for shown in bench.held_out]
    sets = {_MODEL: bench.made, **_controls(bench, training, held_out)}
    values = {name: _values(measures, clips) for name, clips in sets.items()}
    true = _values(measures, held_out)
    alike = {name: {one: _agreement(of[one], true[one]) for one in measures} for name, of in values.items()}
    rows = [_agreement_row(measure, alike) for measure in (ALL, *measures)]
    rows += [_value_row(measure, values, true) for measure in measures]
    shown = [ReportClip(prompt, clip) for prompt, clip in list(zip(bench.prompts, bench.made, strict=True))[:_SHOWN]]
    return Section(
        title="Dynamics",
        question="Do clips move like recorded ones, neither less nor more, without flicker, and stay of one subject?",
        rows=tuple(rows),
        remarks=(
            *remarks_of(bench),
            "Agreement is 1 less the largest difference of both distribution functions (Kolmogorov and Smirnov). Few "
            "clips of one distribution agree by less than 1: true clips are those of the training. "
            f"{CONSISTENCY.capitalize()} is of colours and edges, so a subject that becomes another of equal colours "
            "is not noticed.",
        ),
        sheets=(ContactSheet("Generated clips", tuple(shown)),),
    )


def _controls(bench: RecordedBench, training: Sequence[Video], held_out: Sequence[Video]) -> dict[str, Sequence[Video]]:
    return {
        STILL: [still(clip) for clip in held_out],
        SHUFFLED: [shuffled(clip, 1.0, number) for number, clip in enumerate(held_out)],
        MEAN: [mean_clip(training)] * len(held_out),
        PASTED: spread_over(bench.training, len(bench.made)),
    }


def _values(measures: dict[str, Measure], clips: Sequence[Video]) -> dict[str, list[float]]:
    return {name: [measure(clip) for clip in clips] for name, measure in measures.items()}


def _agreement(values: Sequence[float], true: Sequence[float]) -> Score:
    """1 less the Kolmogorov-Smirnov distance of two samples, with its interval."""
    one, other = (np.asarray(of, dtype=np.float64)[:, None] for of in (values, true))
    apart = distance(one, other, ks_distance, 0.0)
    low, high = (1 - min(1.0, bound) for bound in (apart.high or 0.0, apart.low or 0.0))
    return Score(value=1 - apart.value, low=low, high=high, clips=len(values))


def ks_distance(one: Floats, other: Floats) -> float:
    """The largest difference in [0, 1] between the distribution functions of two samples (n, 1) and (m, 1)."""
    at = np.concatenate((one[:, 0], other[:, 0]))
    first, second = (np.searchsorted(np.sort(of[:, 0]), at, side="right") / len(of) for of in (one, other))
    return float(np.abs(first - second).max())


def _agreement_row(measure: str, alike: dict[str, dict[str, Score]]) -> Row:
    found = {
        name: of[measure] if measure in of else min(of.values(), key=lambda one: one.value)
        for name, of in alike.items()
    }
    meaning = "the least agreement of all measures" if measure == ALL else MEANING[measure]
    score, floor = found.pop(_MODEL), found.pop(PASTED)
    return Row(name=measure, group=AGREEMENT, meaning=meaning, score=score, floor=floor, controls=found)


def _value_row(measure: str, values: dict[str, dict[str, list[float]]], true: dict[str, list[float]]) -> Row:
    found = {name: difference(of[measure]) for name, of in values.items()}
    score = found.pop(_MODEL)
    assert score is not None
    controls = {name: one for name, one in found.items() if one is not None}
    return Row(
        name=measure,
        group=VALUES,
        meaning=f"{MEANING[measure]} (mean of clips; neither more nor less is better)",
        score=score,
        floor=difference(true[measure]),
        controls=controls,
        unit="value",
    )

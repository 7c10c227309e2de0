"""The loss of a model on clips that were held out, at each noise level: what a training makes smaller, measured fairly.

The loss of training steps has other clips each time, and knows them. A model that learnt only how bright and how varied
pixels are has the loss of the Gaussian control; one that does not hear captions has the same with another caption.
"""

from typing import Final, Protocol, cast

import numpy as np

from kinema_evaluation.bootstrap import difference
from kinema_evaluation.plan import EvaluationContext, SkippedSection
from kinema_evaluation.recorded.clips import bench_of, remarks_of
from kinema_evaluation.recorded.controls import OTHER_CAPTION
from kinema_evaluation.recorded.features import Floats
from kinema_evaluation.report import Curve, Row, Section
from kinema_model.validation import LevelLosses

LEVELS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
ALL_LEVELS: Final = "mean of all levels"
TRAINING: Final = "clips of the training"
GAUSSIAN: Final = "mean and spread alone"
_CLIPS: Final = 16


class WithLosses(Protocol):
    """A model whose loss can be measured; `pipeline.Pipeline` is one."""

    @property
    def level_losses(self) -> LevelLosses:
        """Measures the loss by noise level."""

    @property
    def model(self) -> object:
        """The network."""


def examine(context: EvaluationContext) -> Section:
    """Raises `SkippedSection` without recorded clips, and for a model whose network is not at hand."""
    bench = bench_of(context)
    if not hasattr(context.model, "level_losses"):
        raise SkippedSection("The network of this model is not at hand, only its clips.")
    model = cast(WithLosses, context.model)
    measure, held_out = model.level_losses, bench.raw_held_out[:_CLIPS]
    trained = bench.data.source.clips(range(len(held_out)))
    captions = [clip.captions.short for clip in held_out]

    def losses(clips: object, said: list[str]) -> Floats:
        found = measure.losses(model.model, clips, said, LEVELS)  # type: ignore[arg-type]
        return np.asarray(found.double().numpy())

    context.on_progress(context.section, 0, 3)
    mine = losses(held_out, captions)
    context.on_progress(context.section, 1, 3)
    other = losses(held_out, [*captions[1:], captions[0]])
    context.on_progress(context.section, 2, 3)
    seen = losses(trained, [clip.captions.short for clip in trained])
    context.on_progress(context.section, 3, 3)
    gaussian = np.asarray(measure.gaussian(trained, LEVELS).double().numpy())
    rules = {OTHER_CAPTION: other, TRAINING: seen, GAUSSIAN: gaussian[None].repeat(len(held_out), axis=0)}
    return Section(
        title="Validation loss",
        question="How well does the model denoise recorded clips that it never saw?",
        rows=_rows(mine, rules),
        curves=(_curve(mine, rules),),
        remarks=(
            *remarks_of(bench),
            f"{GAUSSIAN}: the least loss of a model that knows how bright and how varied patches are, and nothing "
            f"else. A loss well below it shows that content is used. {OTHER_CAPTION} shows whether captions are: it "
            "is higher where they are. A loss says nothing of how good clips look.",
        ),
    )


def _rows(mine: Floats, rules: dict[str, Floats]) -> tuple[Row, ...]:
    names = [f"level {level:g}" for level in LEVELS]
    columns: list[tuple[str, int | slice]] = [(ALL_LEVELS, slice(None)), *zip(names, range(len(LEVELS)), strict=True)]
    rows = []
    for name, column in columns:
        score = difference(_of(mine, column))
        assert score is not None
        controls = {rule: found for rule, of in rules.items() if (found := difference(_of(of, column))) is not None}
        rows.append(
            Row(
                name=name,
                meaning="mean squared error of the velocity on held-out clips, per number of latents",
                score=score,
                controls=controls,
                better="lower",
                unit="distance",
            )
        )
    return tuple(rows)


def _of(losses: Floats, column: int | slice) -> list[float]:
    values = losses[:, column]
    return [float(np.mean(row)) for row in values]


def _curve(mine: Floats, rules: dict[str, Floats]) -> Curve:
    return Curve(
        name="loss",
        across="noise level: 0 is the clip, 1 is noise",
        x=LEVELS,
        y=tuple(map(float, mine.mean(axis=0))),
        beside={name: tuple(map(float, of.mean(axis=0))) for name, of in rules.items()},
    )

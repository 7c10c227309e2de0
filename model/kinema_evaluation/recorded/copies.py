"""Does a model copy its training: is the nearest true clip one of the training more often than a held-out one?

As `memorisation` for the synthetic world: the distance to the nearest training clip over that to the nearest of as many
held-out clips. Training clips that are pasted score 0, and held-out clips against one another what fresh ones would.
"""

from collections.abc import Sequence
from typing import Final

from kinema_evaluation.bootstrap import median
from kinema_evaluation.distances import nearest
from kinema_evaluation.memorisation import BAR, LEAST
from kinema_evaluation.plan import EvaluationContext, SkippedSection
from kinema_evaluation.recorded.clips import bench_of_text, remarks_of, spread_over
from kinema_evaluation.recorded.controls import PASTED
from kinema_evaluation.recorded.features import FeatureSpace, Floats
from kinema_evaluation.report import Row, Section

RATIO: Final = "nearest training / nearest held-out"
_LEAST_CLIPS: Final = 4
# A clip that is a held-out one has no distance to it; how much nearer than that does not matter.
_MOST: Final = 4.0


def examine(context: EvaluationContext) -> Section:
    """Raises `SkippedSection` without recorded clips, or with too few that are held out."""
    bench = bench_of_text(context)
    if bench.data.held_out_by == "nothing":
        raise SkippedSection("Nothing could be held out, so there is no clip that a copy could be told from.")
    training = [shown.video for shown in bench.training]
    half = min(len(bench.held_out) // 2, len(training))
    if half < _LEAST_CLIPS:
        raise SkippedSection(f"{len(bench.held_out)} held-out clips are too few: {2 * _LEAST_CLIPS} are needed.")
    space = FeatureSpace.of(training, half)
    every = [shown.video for shown in bench.held_out]
    seen, fresh, others = (
        space.standard(of) for of in (spread_over(bench.training, half), every[::2][:half], every[1::2])
    )
    score = median(_ratios(space.standard(bench.made), seen, fresh))
    pasted = median(_ratios(seen, seen, fresh))
    assert score is not None
    assert pasted is not None
    row = Row(
        name=RATIO,
        meaning="median ratio of distances in colours, edges and motion; near 0 for a model that repeats its training",
        score=score,
        floor=median(_ratios(others, seen, fresh)),
        controls={PASTED: pasted},
        bar=BAR,
        unit="ratio",
    )
    return Section(
        title="Copies",
        question="Does the model repeat recorded clips of its training?",
        rows=(row,),
        remarks=(
            *remarks_of(bench),
            f"Compared with {half} clips of the training and as many that were held out. A model that repeats only "
            "others would not be found out, nor one that repeats parts of a frame.",
        ),
    )


def _ratios(clips: Floats, seen: Floats, fresh: Floats) -> Sequence[float]:
    pairs = zip(nearest(clips, seen), nearest(clips, fresh), strict=True)
    return [min(float((near + LEAST) / (far + LEAST)), _MOST) for near, far in pairs]

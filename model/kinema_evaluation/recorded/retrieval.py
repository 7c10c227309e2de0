"""Does a clip show what its caption says, as far as features can tell: is it nearest to true clips of that caption?

True clips are cut in two halves in time. The second halves are searched; the first halves are what a perfect model
would draw, and score the best that these features can tell.
"""

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import mean
from kinema_evaluation.distances import squares
from kinema_evaluation.plan import EvaluationContext, SkippedSection
from kinema_evaluation.recorded.clips import ShrunkClip, bench_of_text, remarks_of
from kinema_evaluation.recorded.controls import MEAN, OTHER_CAPTION, PASTED, STILL, mean_clip, still
from kinema_evaluation.recorded.features import FeatureSpace
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Section
from kinema_world import Video

FIRST: Final = "nearest clip has its caption"
FEW: Final = "among the nearest tenth"
_TENTH: Final = 10
_LEAST_CAPTIONS: Final = 4
_SHOWN: Final = 4


def examine(context: EvaluationContext) -> Section:
    """Raises `SkippedSection` without recorded clips, or where held-out clips have too few captions."""
    bench = bench_of_text(context)
    held_out, training = bench.held_out, bench.training
    distinct = sorted({shown.caption for shown in held_out})
    if len(distinct) < _LEAST_CAPTIONS:
        raise SkippedSection(
            f"Held-out clips have {len(distinct)} captions; fewer than {_LEAST_CAPTIONS} tell nothing."
        )
    half = bench.frames // 2
    search = _Search(held_out, FeatureSpace.of([shown.video[:half] for shown in training], len(held_out)), half)
    prompts, made = bench.prompts, bench.made
    true = [shown.video[:half] for shown in held_out]
    captions = [shown.caption for shown in held_out]
    other = [next(s for s in held_out[i:] + held_out[:i] if s.caption != captions[i]) for i in range(len(held_out))]
    middle = mean_clip([shown.video[:half] for shown in training])
    rules = {
        OTHER_CAPTION: (captions, [shown.video[:half] for shown in other]),
        MEAN: (captions, [middle] * len(captions)),
        STILL: (captions, [still(clip) for clip in true]),
        PASTED: (prompts, [clip[:half] for clip in _of_other_captions(training, prompts)]),
    }
    rows = []
    for name, count in ((FIRST, 1), (FEW, max(1, len(held_out) // _TENTH))):
        score = mean(search.found(prompts, [clip[:half] for clip in made], count))
        assert score is not None
        rows.append(
            Row(
                name=name,
                meaning=f"generated clips with their caption among the {count} nearest of {len(held_out)} true halves",
                score=score,
                floor=mean(search.found(captions, true, count)),
                chance=search.chance(prompts, count),
                controls={rule: found for rule, asked in rules.items() if (found := mean(search.found(*asked, count)))},
            )
        )
    return Section(
        title="Caption retrieval",
        question="Is a generated clip nearest to true clips of its own caption?",
        rows=tuple(rows[: 1 if rows[0].meaning == rows[1].meaning else 2]),
        remarks=(*remarks_of(bench), _REMARK),
        sheets=(_sheet(prompts, made, search, half),),
    )


def _of_other_captions(clips: Sequence[ShrunkClip], captions: Sequence[str]) -> list[Video]:
    """For each caption a clip of another one, where there is one."""
    found = []
    for number, caption in enumerate(captions):
        turned = [clips[(number + step) % len(clips)] for step in range(len(clips))]
        found.append(next((one for one in turned if one.caption != caption), turned[0]).video)
    return found


_REMARK: Final = (
    f"{STILL}: the first frame of the true clip, which finds all that colours and edges tell; a model beyond it knows "
    f"motion. {PASTED} are those of other captions. Features see colours, edges and motion and not what things are: "
    "captions whose clips look alike cannot be told."
)


class _Search:
    """The second halves of held-out clips, to be found by features."""

    def __init__(self, held_out: Sequence[ShrunkClip], space: FeatureSpace, half: int) -> None:
        self._space = space
        self._captions = np.array([shown.caption for shown in held_out])
        self._features = space.standard([shown.video[-half:] for shown in held_out])

    def found(self, captions: Sequence[str], clips: Sequence[Video], count: int) -> list[float]:
        """1 for each clip of whose `count` nearest halves one has its caption, else 0."""
        order = squares(self._space.standard(clips), self._features).argsort(axis=1)[:, :count]
        pairs = zip(captions, order, strict=True)
        return [float(np.any(self._captions[nearest] == caption)) for caption, nearest in pairs]

    def chance(self, captions: Sequence[str], count: int) -> float:
        """How often one of `count` halves drawn at random has the caption."""
        total = len(self._captions)
        shares = []
        for caption in captions:
            others = total - int((self._captions == caption).sum())
            missed = prod((others - drawn) / (total - drawn) for drawn in range(min(count, total)))
            shares.append(1 - max(missed, 0.0))
        return float(np.mean(shares))


def _sheet(prompts: Sequence[str], made: Sequence[Video], search: _Search, half: int) -> ContactSheet:
    right = search.found(prompts, [clip[:half] for clip in made], 1)
    shown = [
        ReportClip(prompt, clip, good == 1)
        for prompt, clip, good in list(zip(prompts, made, right, strict=True))[:_SHOWN]
    ]
    return ContactSheet("The first clips by held-out captions", tuple(shown))

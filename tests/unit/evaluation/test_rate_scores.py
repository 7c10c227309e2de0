"""The section rates: equal speed in px/s at every rate, which a model that hears nothing of the rate does not show."""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Renderer, Report, evaluate
from kinema_evaluation.rates import DEAF, EQUAL, MEAN, OFF, TOLD, equal
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.pipeline import Asked
from kinema_world import Scene, SceneKind, ShapeMix, Video, WorldConfig
from unit.evaluation.pretenders import Pretender, config_of

pytestmark = pytest.mark.slow


RATES = (8, 12, 24)
MIX = ShapeMix(frames=(8, 16, 24), fps=RATES, sides=(32, 32))


def _config(rates: tuple[int, ...] = RATES, tasks: tuple[Task, ...] = (Task.TEXT,)) -> ModelConfig:
    fields = {"frames": 8, "height": 32, "width_px": 32, "fps": 8, "rates": rates, "tasks": tasks}
    return ModelConfig.from_preset("tiny", **fields)


def _report(model: Renderer, kind: SceneKind = SceneKind.SEVERAL) -> Report:
    return evaluate(
        model, EvaluationPlan(clips=16, world=WorldConfig(kinds={kind: 1.0}, shapes=MIX), sections=("rates",))
    )


class Told(Pretender):
    """Hears short and rich captions."""

    def _asked(self, prompt: str, shape: object) -> list[Scene]:
        return [s for s in self._known if prompt in (s.captions.short, s.captions.rich) and s.shape == shape]


class Deaf(Told):
    """Moves objects by as many px per frame at every rate."""

    def generate_batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        **how: Unpack[Asked],
    ) -> Video:
        own = super().generate_batch(prompts, seeds, frames=8)
        return own[:, np.minimum(np.arange(how.get("frames") or 8), 7)]


def test_truth_is_equally_fast_at_every_rate_and_the_control_is_not(known: list[Scene]) -> None:
    section = _report(Told(known, _config())).sections["rates"]
    row = section.row(EQUAL)
    assert row.score == row.floor
    assert row.score.value >= 0.75
    assert row.controls[DEAF].value == 0.0
    for rate in RATES[1:]:
        off = section.row(OFF, f"{rate} fps")
        assert off.score.value < 0.1
        assert off.controls[DEAF].value == pytest.approx(rate / 8 - 1)
        assert abs(section.row(MEAN, f"{rate} fps").score.value) < 0.05
    assert section.curves[0].x == RATES
    for rate in RATES:
        told = section.row(TOLD, f"{rate} fps")
        assert told.score == told.floor
        assert told.score.value >= 0.75
    assert section.row(TOLD, "24 fps").controls[DEAF].value <= 0.25
    assert [shown.video.shape[0] for shown in section.sheets[0].shown] == list(RATES)


def test_a_model_that_hears_nothing_of_the_rate_is_told(known: list[Scene]) -> None:
    section = _report(Deaf(known, _config())).sections["rates"]
    assert section.row(EQUAL).score.value == 0.0


def _with_a_patch(clip: Video) -> Video:
    """Two fifths of every object in another colour: its right side."""
    patched = clip.copy()
    for frame in patched:
        red = (frame.max(axis=-1) > 130).nonzero()
        for row in set(red[0].tolist()):
            columns = red[1][red[0] == row]
            frame[row, columns[int(0.6 * len(columns)) :]] = (245, 245, 245)
    return patched


def test_a_part_in_another_colour_is_counted(known: list[Scene]) -> None:
    section = _report(Told(known, _config(), None, _with_a_patch)).sections["rates"]
    assert section.row(EQUAL).score.value <= 0.25


@pytest.mark.parametrize(
    ("speeds", "right"),
    [((10.0, 12.0), True), ((10.0, 12.1), False), ((12.1, 10.0), False), ((10.0, None), False), ((5.0,), True)],
)
def test_within_a_fifth(speeds: tuple[float | None, ...], right: bool) -> None:
    assert equal(speeds) is right


def test_models_that_cannot_are_named(known: list[Scene]) -> None:
    assert "one frame rate" in _report(Pretender(known, config_of())).absent["rates"]
    assert "words alone" in _report(Pretender(known, _config(tasks=(Task.EXTEND,)))).absent["rates"]
    for kind in (SceneKind.PAN, SceneKind.SIMPLE):
        assert "a speed in px per second" in _report(Pretender(known, _config()), kind).absent["rates"]

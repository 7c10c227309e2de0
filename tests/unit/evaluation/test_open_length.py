"""The section drift: a model that bounces on for ever holds, others do not, and no rule on a beginning ever does."""

from collections.abc import Callable

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Report, evaluate
from kinema_evaluation.drift import COPY_LAST, FROZEN, LOOPED
from kinema_evaluation.open_length import EVERYTHING, FIRST, LAST, LAWFUL, NEW, TRUE
from kinema_evaluation.report import Row
from kinema_world import Scene, SceneKind, Video, WorldConfig
from unit.evaluation.pretenders import Pretender, Spoil, config_of, frozen, streaming_config

pytestmark = pytest.mark.slow


BOUNCE = WorldConfig(kinds={SceneKind.BOUNCE: 1.0})


def _report(known: list[Scene], spoil: Spoil | None = None, *, seconds: float = 10, clips: int = 16) -> Report:
    plan = EvaluationPlan(clips=clips, world=BOUNCE, sections=("drift",), seconds=seconds)
    return evaluate(Pretender(known, streaming_config(), None, spoil), plan)


def _fading(clip: Video) -> Video:
    """From the middle on, next to nothing is left of all colours."""
    half = len(clip) // 2
    return np.concatenate((clip[:half], clip[half:] // 8))


def _repeating(clip: Video) -> Video:
    """The first four seconds over and over."""
    return np.ascontiguousarray(clip[np.arange(len(clip)) % 32])


def _jumping(clip: Video) -> Video:
    """Every chunk from the other end: right in itself, and in no place that the law allows."""
    return np.concatenate([clip[first : first + 4] for first in range(len(clip) - 4, -1, -4)])


def test_truth_holds_to_the_end_and_no_rule_does(known: list[Scene]) -> None:
    report = _report(known, seconds=21, clips=32)
    section = report.sections["drift"]
    for name in (EVERYTHING, FIRST, LAST, LAWFUL, NEW):
        row = section.row(name)
        assert row.score == row.floor
        assert row.score.value >= 0.95, name
    assert {rule: score.value for rule, score in section.row(EVERYTHING).controls.items()} == {
        FROZEN: 0.0,
        LOOPED: 0.0,
        COPY_LAST: 0.0,
    }
    assert not section.remarks
    assert [row.name for row in section.rows[-3:]] == ["0 to 10 s", "10 to 20 s", "20 to 21 s"]
    curve = section.curves[0]
    assert len(curve.x) == len(curve.y) == 42
    assert curve.beside[TRUE] == curve.y
    assert all(set(curve.beside[rule][4:]) == {0.0} for rule in (FROZEN, COPY_LAST))
    assert [len(sheet.shown) for sheet in section.sheets] == [8, 8]


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (_fading, lambda row: row(LAST).score.value < 0.7),
        (_repeating, lambda row: row(NEW).score.value < 0.5),
        (_jumping, lambda row: row(LAWFUL).score.value < 0.7),
        (frozen, lambda row: row(LAWFUL).score.value == 0.0 and row(NEW).score.value == 0.0),
    ],
)
def test_every_way_to_drift_is_told(
    known: list[Scene], spoil: Spoil, wrong: Callable[[Callable[[str], Row]], bool]
) -> None:
    section = _report(known, spoil).sections["drift"]
    assert section.row(EVERYTHING).score.value == 0.0
    assert wrong(section.row)


def test_a_rule_that_passes_is_named(known: list[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinema_evaluation.drift.HOLDS", 0.0)
    section = _report(known).sections["drift"]
    assert any("'frozen' passes in" in remark for remark in section.remarks)


def test_the_same_plan_gives_the_same_figures(known: list[Scene]) -> None:
    assert _report(known).model_dump() == _report(known).model_dump()


def _without_bounces(world: WorldConfig) -> WorldConfig:
    return world.model_copy(update={"kinds": {SceneKind.SEVERAL: 1.0}})


def test_models_that_cannot_are_named(known: list[Scene]) -> None:
    plan = EvaluationPlan(clips=32, world=BOUNCE, sections=("drift",))
    assert "not trained to stream" in evaluate(Pretender(known, config_of()), plan).absent["drift"]
    still = plan.model_copy(update={"world": _without_bounces(BOUNCE)})
    assert "no scenes that bounce" in evaluate(Pretender(known, streaming_config()), still).absent["drift"]

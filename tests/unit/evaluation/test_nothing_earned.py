"""A model that draws nothing earns nothing, whatever it is asked and whatever it was given."""

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, evaluate
from kinema_evaluation.tasks import GIVEN, OUTSIDE
from kinema_world import Scene, SceneKind, Video, WorldConfig
from unit.evaluation.pretenders import Pretender, config_of

pytestmark = pytest.mark.slow


# Promises that hold for pixels which the model does not make.
KEEPS = {GIVEN, OUTSIDE}
LAWFUL = (SceneKind.SIMPLE, SceneKind.SEVERAL, SceneKind.BOUNCE, SceneKind.GRAVITY, SceneKind.OCCLUDE)


def _empty(clip: Video) -> Video:
    return np.zeros_like(clip)


@pytest.mark.parametrize("kind", LAWFUL)
def test_of_given_and_asked_clips(known: list[Scene], kind: SceneKind) -> None:
    plan = EvaluationPlan(
        clips=4, world=WorldConfig(kinds={kind: 1.0}), sections=("captions", "motion", "permanence", "tasks")
    )
    report = evaluate(Pretender(known, config_of(), None, _empty), plan)
    rows = [row for section in report.sections.values() for row in section.rows if row.name not in KEEPS]
    assert rows
    for row in rows:
        if row.better == "higher":
            assert row.score.value == 0.0, row
        else:
            assert row.score.value >= (row.bar or 1.0), row

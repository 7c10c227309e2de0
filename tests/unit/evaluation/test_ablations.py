"""Side by side: what is better scores better, with the same scenes and seeds for all."""

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Renderer, Report, Row, Section, evaluate
from kinema_evaluation.ablations import IN_FRAME, RICH, SHORT, THIS, sizes_of
from kinema_evaluation.captions import EVERYTHING
from kinema_evaluation.errors import PlanError
from kinema_model.conditions.tasks import Task
from kinema_model.errors import ShapeError
from kinema_world import ClipShape, Scene, SceneKind, ShapeMix, Video, WorldConfig
from unit.evaluation.pretenders import Pretender, backwards, config_of

pytestmark = pytest.mark.slow


SEVERAL = WorldConfig(kinds={SceneKind.SEVERAL: 1.0}, shapes=ShapeMix.fixed(16, 32, 32, 8))
WIDE = WorldConfig(kinds={SceneKind.SIMPLE: 1.0}, shapes=ShapeMix(frames=(16,), fps=(8,), sides=(24, 40)))


def _cropped(clip: Video) -> Video:
    """As a model draws that was trained on crops: the middle, enlarged, with objects cut off at its sides."""
    height, width = clip.shape[1:3]
    rows, columns = (np.arange(side) // 2 + side // 4 for side in (height, width))
    return np.ascontiguousarray(clip[:, rows][:, :, columns])


def _report(model: Renderer, world: WorldConfig = SEVERAL, **beside: Renderer) -> Report:
    return evaluate(model, EvaluationPlan(clips=5, world=world, sections=("ablations",)), beside=beside)


def _difference(section: Section, group: str, name: str = EVERYTHING) -> Row:
    return next(r for r in section.rows if r.group == group and r.unit == "difference" and r.name.startswith(name))


class Detailed(Pretender):
    """Follows rich captions as well as short ones."""

    def _asked(self, prompt: str, shape: ClipShape) -> list[Scene]:
        told = [scene for scene in self._known if scene.shape == shape]
        return [scene for scene in told if prompt in (scene.captions.short, scene.captions.rich)] or told


class OnlyShort(Pretender):
    """Follows short captions, and draws the last scene it knows of for any other."""

    def _asked(self, prompt: str, shape: ClipShape) -> list[Scene]:
        return super()._asked(prompt, shape) or [scene for scene in self._known if scene.shape == shape]


class Square(Detailed):
    """Draws no other frame than a square."""

    def generate_batch(self, *arguments: object, **named: object) -> Video:
        raise ShapeError("width 40 does not fit this model. Use 32.")


def test_models_are_told_apart_on_the_same_captions(known: list[Scene]) -> None:
    others = {
        "as good": Detailed(known, config_of()),
        "crop": Detailed(known, config_of(), None, _cropped),
        "1x": Detailed(known, config_of(), None, backwards),
    }
    report = _report(Detailed(known, config_of()), **others)
    section = report.sections["ablations"]
    assert report.beside == tuple(others)
    for name in (THIS, "as good"):
        assert section.row(EVERYTHING, name).score.value == 1.0
        assert section.row(IN_FRAME, name).score.value == 1.0
    assert section.row(IN_FRAME, "crop").score.value < 0.7
    assert section.row(EVERYTHING, "1x").score.value < 0.5
    even = _difference(section, "as good").score
    assert (even.low, even.value, even.high) == (0.0, 0.0, 0.0)
    worse = _difference(section, "crop", IN_FRAME).score
    assert worse.high is not None
    assert worse.high < 0
    assert [shown.label for shown in section.sheets[-1].shown] == [THIS, *others]


def test_a_model_that_ignores_rich_captions_is_told(known: list[Scene]) -> None:
    section = _report(OnlyShort(known, config_of())).sections["ablations"]
    assert section.row(EVERYTHING, SHORT).score.value == 1.0
    assert section.row(EVERYTHING, RICH).score.value < 0.6
    assert _difference(section, RICH).score.value == pytest.approx(section.row(EVERYTHING, RICH).score.value - 1)
    both = _report(Detailed(known, config_of())).sections["ablations"]
    assert _difference(both, RICH).score.value == 0.0
    assert any("card" in remark for remark in both.remarks)
    assert any("one size" in remark for remark in both.remarks)


def test_one_prompt_and_seed_is_drawn_at_every_aspect(known: list[Scene]) -> None:
    section = _report(Detailed(known, config_of()), WIDE).sections["ablations"]
    names = ["32 x 32 px", "24 x 40 px", "24 x 32 px", "32 x 24 px", "40 x 24 px"]
    side_by_side = section.sheets[-1].shown
    assert [shown.label for shown in side_by_side] == names
    assert [shown.video.shape[2:0:-1] for shown in side_by_side] == [(32, 32), (24, 40), (24, 32), (32, 24), (40, 24)]
    assert all(section.row(EVERYTHING, name).score.value == 1.0 for name in names)
    assert all(_difference(section, name).score.value == 0.0 for name in names[1:])


def test_sizes_are_the_worlds_that_the_model_can_draw() -> None:
    assert sizes_of(SEVERAL, config_of()) == [(32, 32)]
    assert sizes_of(SEVERAL, config_of(height=32, width=48)) == [(32, 48), (32, 32)]
    assert len(sizes_of(WIDE, config_of())) == 5


def test_what_cannot_be_compared_is_named(known: list[Scene]) -> None:
    model = Detailed(known, config_of())
    section = _report(model, square=Square(known, config_of())).sections["ablations"]
    assert any("square was not compared: width 40" in remark for remark in section.remarks)
    with pytest.raises(PlanError, match="'ablations'"):
        evaluate(model, EvaluationPlan(clips=4, world=SEVERAL, sections=("captions",)), beside={"other": model})
    with pytest.raises(PlanError, match="Choose another"):
        _report(model, **{THIS: model})
    silent = Detailed(known, config_of(tasks=(Task.EXTEND,)))
    assert "words alone" in _report(silent).absent["ablations"]

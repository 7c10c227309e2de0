"""Distances of distributions: 0 for the same, growing with damage; and clips of the training told from others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kinema_evaluation import EvaluationPlan, Report, distribution, evaluate, features
from kinema_evaluation.distances import frechet, median_distance, mmd, nearest
from kinema_evaluation.distribution import DAMAGES, FRECHET, MMD
from kinema_evaluation.errors import MeasureError
from kinema_evaluation.features import FeatureNet, StateNet, feature_net, shrunk, state
from kinema_evaluation.memorisation import RATIO, REPEATS
from kinema_evaluation.plan import true_clips
from kinema_world import COLOURS, Scene, SceneKind, ShapeMix, World, WorldConfig
from kinema_world.vocabulary import BACKGROUNDS
from unit.evaluation.pretenders import Pretender, Spoil, config_of, frozen

pytestmark = pytest.mark.slow


SEVERAL = WorldConfig(kinds={SceneKind.SEVERAL: 1.0}, shapes=ShapeMix.fixed(16, 32, 32, 8))
rows = arrays(np.float64, (6, 3), elements=st.floats(-5, 5, width=32))


class Plain(StateNet):
    """How much changes from frame to frame, how sharp each is, and a little of what is where: without any training."""

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        moving = frames.diff(dim=1).abs().mean(dim=(2, 3, 4))
        sharp = frames.diff(dim=-1).square().mean(dim=(2, 3, 4))
        places = torch.nn.functional.adaptive_avg_pool2d(frames.flatten(1, 2), 2).flatten(1)
        return torch.cat((10 * moving, 20 * sharp, 0.1 * places), dim=1)


@pytest.fixture
def plain_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "feature_net", lambda *_: FeatureNet(Plain(1), 0.95, "plain"))


def _report(known: list[Scene], section: str, spoil: Spoil | None = None, clips: int = 24) -> Report:
    plan = EvaluationPlan(clips=clips, world=SEVERAL, sections=(section,))
    return evaluate(Pretender(known, config_of(), None, spoil), plan)


@given(rows, rows)
def test_distances_are_symmetric_and_zero_for_the_same(one: np.ndarray, other: np.ndarray) -> None:  # type: ignore[type-arg]
    assert frechet(one, one) == pytest.approx(0, abs=1e-5)
    assert frechet(one, other) == pytest.approx(frechet(other, one), abs=1e-4)
    assert mmd(one, other, 1.0) == pytest.approx(mmd(other, one, 1.0), abs=1e-9)
    assert np.all(nearest(one, np.concatenate((other, one))) <= nearest(one, other) + 1e-6)


def test_distances_of_known_distributions() -> None:
    draw = np.random.default_rng(0)
    one, other = draw.normal(0, 1, (20_000, 2)), draw.normal(0, 2, (20_000, 2)) + 3
    # |m|^2 + D (s1 - s2)^2
    assert frechet(one, other) == pytest.approx(18 + 2, rel=0.03)
    few, more = draw.normal(0, 1, (200, 2)), draw.normal(0, 1, (200, 2))
    assert abs(mmd(few, more, median_distance(few))) < 0.01
    assert mmd(few, more + 2, median_distance(few)) > 0.3
    with pytest.raises(MeasureError, match="two clips or more"):
        frechet(one[:1], other)


@pytest.mark.usefixtures("plain_features")
def test_true_clips_are_near_and_damaged_ones_far(known: list[Scene]) -> None:
    true = _report(known, "distribution").sections["distribution"]
    still = _report(known, "distribution", frozen).sections["distribution"]
    for name in (FRECHET, MMD):
        floor = true.row(name).floor
        assert floor is not None
        assert true.row(name).score.value == pytest.approx(floor.value)
        assert still.row(name).score.value > true.row(name).score.value
    assert {(curve.name, curve.across) for curve in true.curves} == {(n, d) for n in (FRECHET, MMD) for d in DAMAGES}
    assert all(curve.y[-1] > curve.y[0] for curve in true.curves)
    assert not any("Not to be trusted" in remark for remark in true.remarks)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_grows_with_its_amount_and_starts_at_none(name: str) -> None:
    clip = true_clips([World(SEVERAL).scene(0)])[0]
    off = [float(np.abs(DAMAGES[name](clip, amount, 3).astype(int) - clip).mean()) for amount in (0.0, 0.3, 1.0)]
    assert off[0] == 0 < off[1] < off[2]


def test_a_network_that_explains_too_little_is_refused(known: list[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "feature_net", lambda *_: FeatureNet(StateNet(1), 0.61, "weak"))
    for section in ("distribution", "memorisation"):
        report = _report(known, section, clips=4)
        assert report.sections == {}
        assert "0.61" in report.absent[section]


@pytest.mark.usefixtures("plain_features")
def test_a_model_that_repeats_its_training_is_found_out(known: list[Scene]) -> None:
    section = _report(known, "memorisation", clips=8).sections["memorisation"]
    row = section.row(RATIO)
    assert row.reached
    assert row.score.value == pytest.approx(1, abs=0.25)
    assert row.controls[REPEATS].value < 0.05


@pytest.mark.usefixtures("plain_features")
def test_memorisation_needs_to_know_the_training(known: list[Scene]) -> None:
    report = evaluate(Pretender(known, config_of()), EvaluationPlan(clips=4, sections=("memorisation",)))
    assert "does not tell" in report.absent["memorisation"]


def test_a_network_is_trained_once_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_CLIPS", 64)
    monkeypatch.setattr(features, "_HELD_BACK", 16)
    monkeypatch.setattr(features, "_EPOCHS", 1)
    clips = true_clips([World(SEVERAL).scene(index) for index in range(3)])
    told: list[tuple[int, int]] = []
    first = feature_net(SEVERAL, tmp_path, lambda *done: told.append(done))
    assert told[-1] == (1, 1)
    cached = feature_net(SEVERAL, tmp_path, lambda *_: pytest.fail("was trained again"))
    anew = feature_net(SEVERAL, tmp_path / "elsewhere", lambda *_: None)
    for other in (cached, anew):
        assert other.r2 == first.r2
        assert np.array_equal(other.features(clips), first.features(clips))
    other_world = SEVERAL.model_copy(update={"shapes": ShapeMix.fixed(16, 32, 48, 8)})
    assert feature_net(other_world, tmp_path, lambda *_: None).digest != first.digest


def test_states_are_where_the_colours_are() -> None:
    scenes = [World(SEVERAL).scene(index) for index in range(8)]
    for scene, frames in zip(scenes, shrunk(true_clips(scenes)), strict=True):
        objects = state(scene)[: -len(BACKGROUNDS)].reshape(len(COLOURS), -1)
        assert objects[:, 0].sum() == len(scene.tracks)
        for one, colour in zip(objects, COLOURS.values(), strict=True):
            first, _, last = one[4:].reshape(3, 2)
            for frame, place in ((frames[0], first), (frames[-1], last)):
                column, row = ((place + 1) / 2 * 32).astype(int)
                apart = frame[:, row, column] - torch.tensor(colour) / 127.5 + 1
                assert (apart.norm() < 0.6) == (one[0] == 1)

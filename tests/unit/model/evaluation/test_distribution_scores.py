"""Distances of distributions: 0 for the same, growing with damage; and clips of the training told from others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kinema_model.errors import ShapeError
from kinema_model.evaluation import Plan, Report, distribution, evaluate, features
from kinema_model.evaluation.distances import frechet, median_distance, mmd, nearest
from kinema_model.evaluation.distribution import DAMAGES, FRECHET, MMD
from kinema_model.evaluation.features import FeatureNet, StateNet, feature_net, shrunk, state, varied
from kinema_model.evaluation.memorisation import RATIO, REPEATS
from kinema_model.evaluation.plan import true_clips
from kinema_model.world import Scene, SceneKind, ShapeMix, World, WorldConfig
from unit.model.pretenders import Pretender, Spoil, config_of, frozen

SEVERAL = WorldConfig(kinds={SceneKind.SEVERAL: 1.0}, shapes=ShapeMix.fixed(16, 32, 32, 8))
rows = arrays(np.float64, (6, 3), elements=st.floats(-5, 5, width=32))


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of a network with random weights: enough to tell clips apart, and there at once."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = StateNet().eval().requires_grad_(False)
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight)
                torch.nn.init.zeros_(module.bias)
    monkeypatch.setattr(distribution, "feature_net", lambda *_: FeatureNet(net, 0.95, "random"))


def _report(known: list[Scene], section: str, spoil: Spoil | None = None) -> Report:
    plan = Plan(clips=24, world=SEVERAL, sections=(section,))
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
    with pytest.raises(ShapeError, match="two clips or more"):
        frechet(one[:1], other)


@pytest.mark.usefixtures("untrained")
def test_true_clips_are_near_and_damaged_ones_far(known: list[Scene]) -> None:
    true = _report(known, "distribution").sections["distribution"]
    still = _report(known, "distribution", frozen).sections["distribution"]
    for name in (FRECHET, MMD):
        floor = true.row(name).floor
        assert floor is not None
        assert true.row(name).score.value == pytest.approx(floor.value)
        assert still.row(name).score.value > true.row(name).score.value
    assert {(curve.name, curve.across) for curve in true.curves} == {(n, d) for n in (FRECHET, MMD) for d in DAMAGES}
    for curve in true.curves:
        if curve.across != "shuffle":
            assert curve.y[-1] > curve.y[0], curve


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_grows_with_its_amount_and_starts_at_none(name: str) -> None:
    clip = true_clips([World(SEVERAL).scene(0)])[0]
    off = [float(np.abs(DAMAGES[name](clip, amount, 3).astype(int) - clip).mean()) for amount in (0.0, 0.3, 1.0)]
    assert off[0] == 0 < off[1] < off[2]


def test_a_network_that_explains_too_little_is_refused(known: list[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "feature_net", lambda *_: FeatureNet(StateNet(), 0.61, "weak"))
    for section in ("distribution", "memorisation"):
        report = _report(known, section)
        assert report.sections == {}
        assert "0.61" in report.absent[section]


@pytest.mark.usefixtures("untrained")
def test_a_model_that_repeats_its_training_is_found_out(known: list[Scene]) -> None:
    section = _report(known, "memorisation").sections["memorisation"]
    row = section.row(RATIO)
    assert row.reached
    assert row.score.value == pytest.approx(1, abs=0.25)
    assert row.controls[REPEATS].value < 0.05


@pytest.mark.usefixtures("untrained")
def test_memorisation_needs_to_know_the_training(known: list[Scene]) -> None:
    report = evaluate(Pretender(known, config_of()), Plan(clips=4, sections=("memorisation",)))
    assert "does not tell" in report.absent["memorisation"]


def test_a_network_is_trained_once_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_CLIPS", 128)
    monkeypatch.setattr(features, "_HELD_BACK", 32)
    monkeypatch.setattr(features, "_EPOCHS", 1)
    clips = true_clips([World(SEVERAL).scene(index) for index in range(3)])
    told: list[tuple[int, int]] = []
    first = feature_net(SEVERAL, tmp_path, lambda *done: told.append(done))
    assert told[-1] == (2, 2)
    cached = feature_net(SEVERAL, tmp_path, lambda *_: pytest.fail("was trained again"))
    anew = feature_net(SEVERAL, tmp_path / "elsewhere", lambda *_: None)
    for other in (cached, anew):
        assert other.r2 == first.r2
        assert np.array_equal(other.features(clips), first.features(clips))
    other_world = SEVERAL.model_copy(update={"shapes": ShapeMix.fixed(16, 32, 48, 8)})
    assert feature_net(other_world, tmp_path, lambda *_: None).digest != first.digest


def test_states_of_mirrored_and_reversed_clips_are_true() -> None:
    scenes = [World(SEVERAL).scene(index) for index in range(8)]
    frames = shrunk(true_clips(scenes))
    states = torch.from_numpy(np.stack([state(scene) for scene in scenes])).float()
    seen, told = varied(frames, states, np.random.default_rng(1))
    changed = 0
    for clip, one, was in zip(seen, told, frames, strict=True):
        changed += not torch.equal(clip, was)
        places = one[:-5].view(6, 10)[:, 4:].view(6, 3, 2)
        for colour, (first, _, last) in zip(one[:-5].view(6, 10), places, strict=True):
            if colour[0]:
                for frame, place in ((clip[0], first), (clip[-1], last)):
                    column, row = ((place + 1) / 2 * 32).long().tolist()
                    assert frame[:, row, column].max() > 0.7
    assert changed >= 4

"""The proof's training: interrupted or killed it ends where an undisturbed one does, and its rate follows the clock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema_model.artefact import load_model
from kinema_model.errors import ConfigError
from kinema_model.packing.planning import StreamState
from kinema_model.text.encoder import TextEncoder
from kinema_world import ShapeMix
from kinema_world.stored import load_world
from proof import supply, training
from proof.folder import Folder
from proof.settings import LESSONS, POINTS, Lesson, Settings
from proof.supply import Batch, Inline, Supply
from proof.training import Progress, Trainer, points_due, rate_share
from stage.slices import Slice, SliceOver

STEPS = 8
# Each point at a step of its own.
SHARES = {"1x": 1 / 8, "4x": 3 / 8, "32x": 1.0}


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    """One for all trainers: its weights take longer to read than their steps."""
    return TextEncoder()


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch, encoder: TextEncoder) -> None:
    """A network that learns nothing, quickly, in the tiny preset's place."""
    monkeypatch.setattr(supply, "TextEncoder", lambda: encoder)
    changes = {**LESSONS["tiny"].changes, "width": 16, "depth": 1, "heads": 1}
    shapes = ShapeMix(frames=(16,), fps=(8,), sides=(32, 32))
    monkeypatch.setitem(LESSONS, "tiny", Lesson(changes, shapes, 1e-3))  # type: ignore[arg-type]
    for name, share in SHARES.items():
        monkeypatch.setitem(POINTS, name, share)  # type: ignore[arg-type]
    monkeypatch.setattr(training, "SNAPSHOT_SECONDS", 2.0)


def settings(rate: float = 1e-3) -> Settings:
    """Each reading of the clock is half a second later, so that a step takes one."""
    return Settings("tiny", "cpu", False, 0.5 * STEPS, 512, rate, 2, 10.0, 2, 1)


def ticking() -> Callable[[], float]:
    ticks = count()
    return lambda: 0.5 * next(ticks)


def trainer(folder: Path, make: Callable[[Settings, int, StreamState], Supply] = Inline, rate: float = 1e-3) -> Trainer:
    return Trainer(settings(rate), Folder(folder, {}), make, ticking())


def undisturbed(folder: Path) -> Trainer:
    one = trainer(folder)
    one.run(Slice(float("inf")))
    return one


def same(one: Trainer, other: Trainer, folders: tuple[Path, Path]) -> None:
    first, second = one.progress, other.progress
    assert (first.step, first.seconds, first.tokens, first.stream, first.points) == (
        second.step,
        second.seconds,
        second.tokens,
        second.stream,
        second.points,
    )
    for name in POINTS:
        here, there = (load_model(folder / "points" / name).model.state_dict() for folder in folders)
        assert all(torch.equal(here[key], there[key]) for key in here), name
    for key, weight in one.model.state_dict().items():
        assert torch.equal(weight, other.model.state_dict()[key]), key


def test_slices_end_where_one_call_does(tmp_path: Path) -> None:
    whole = undisturbed(tmp_path / "whole")
    calls = 0
    while True:
        part = trainer(tmp_path / "parts")
        # The slice's own clock: it is looked at after each step.
        looks = count()
        calls += 1
        try:
            part.run(Slice(3, lambda looks=looks: float(next(looks))))  # type: ignore[misc]
        except SliceOver:
            continue
        break
    assert calls > 2
    same(whole, part, (tmp_path / "whole", tmp_path / "parts"))


class Killed(BaseException):
    """What no code of the proof catches."""


class Deadly(Inline):
    """Ends the process in the middle of training."""

    def take(self) -> Batch:
        if self._step == 5:
            raise Killed
        return super().take()


def test_a_killed_call_loses_only_what_no_snapshot_holds(tmp_path: Path) -> None:
    whole = undisturbed(tmp_path / "whole")
    with pytest.raises(Killed):
        trainer(tmp_path / "killed", Deadly).run(Slice(float("inf")))
    resumed = trainer(tmp_path / "killed")
    assert 0 < resumed.progress.step < 5
    resumed.run(Slice(float("inf")))
    same(whole, resumed, (tmp_path / "whole", tmp_path / "killed"))


def test_points_are_kept_in_order_with_their_world(tmp_path: Path) -> None:
    one = undisturbed(tmp_path)
    steps = [one.progress.points[name]["step"] for name in POINTS]
    assert steps == [round(share * STEPS) for share in SHARES.values()]
    assert load_world(tmp_path / "points" / "1x") == settings().world
    weights = [load_model(tmp_path / "points" / name).model.state_dict()["network.proj_out.weight"] for name in POINTS]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_a_loss_that_is_no_number_says_what_to_do(tmp_path: Path) -> None:
    class Broken(Inline):
        def take(self) -> Batch:
            batch = super().take()
            return Batch(batch.clean, batch.noise * float("nan"), batch.following)

    with pytest.raises(ConfigError, match="Lower PROOF_RATE"):
        trainer(tmp_path, Broken).run(Slice(float("inf")))


def test_what_is_done_is_not_trained_again(tmp_path: Path) -> None:
    undisturbed(tmp_path)

    def refuse(*_: object) -> Supply:
        raise AssertionError

    again = trainer(tmp_path, refuse)
    again.run(Slice(0))
    assert again.done


@given(share=st.floats(0, 1), total=st.floats(1, 1e4))
def test_the_rate_follows_the_share_of_the_seconds(share: float, total: float) -> None:
    rate = rate_share(share * total, total)
    assert 0 <= rate <= 1
    assert rate == pytest.approx(rate_share(share * 480, 480), abs=0.03)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [rate_share(second, 480) for second in range(481)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-6)
    assert max(rates) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("seconds", "kept", "due"),
    [
        (0.0, [], []),
        (12.4, [], []),
        (12.5, [], ["1x"]),
        (40.0, [], ["1x", "4x"]),
        (40.0, ["1x"], ["4x"]),
        (100.0, ["1x", "4x"], ["32x"]),
        (100.0, ["1x", "4x", "32x"], []),
    ],
)
def test_points_are_due_once(seconds: float, kept: list[str], due: list[str]) -> None:
    progress = Progress(seconds=seconds, points={name: {} for name in kept})
    assert points_due(progress, 100.0) == due

"""What is not finite reaches neither the weights nor a checkpoint, on any rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import open_store
from kinema_jobs.train.checkpoint import Checkpoints
from kinema_jobs.train.failures import NumericsFailure
from kinema_jobs.train.group import Group
from kinema_jobs.train.storage import RetryPolicy
from kinema_jobs.train.train_state import TrainState, fit
from kinema_model.diffusion.flow import FlowLoss
from kinema_model.training.optimizer import learning_rate_share
from unit.jobs.rounds import config, entered, lease, on_ranks

pytestmark = pytest.mark.slow


@pytest.fixture
def alone() -> Iterator[Group]:
    """A group of one, with real collectives."""
    with entered(0, 1, dist.HashStore()) as group:
        yield group


def explode(fitting: TrainState, at: int, *, until: int = 99, here: bool = True) -> None:
    """From step `at` on to before `until` the loss stays as it is, and one weight's gradient is infinite."""
    whole = fitting.learner.loss

    def loss(clean: Any, noise: Any) -> FlowLoss:
        found = whole(clean, noise)
        if not at <= fitting.step < until or not here:
            return found
        weight = next(iter(fitting.learner.model.parameters()))
        poison = (weight - weight.detach()).sum() * float("inf")
        return FlowLoss(_Only.apply(found.total, poison), found.count, found.bin_total, found.bin_count)

    fitting.learner.loss = loss  # type: ignore[method-assign]


class _Only(torch.autograd.Function):
    """The first argument's value, with the gradient of both."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return gradients[0], gradients[0]


def numbers(fitting: TrainState) -> list[torch.Tensor]:
    return [p.detach().clone() for p in fitting.learner.model.parameters()]


def test_a_finite_loss_with_an_infinite_gradient_never_reaches_the_weights(alone: Group, tmp_path: Path) -> None:
    fitting = TrainState.build(config(), alone)
    explode(fitting, at=2)
    before: list[list[torch.Tensor]] = []
    failure = None
    try:
        fit(fitting, alone, lease(tmp_path), lambda: before.append(numbers(fitting)))
    except NumericsFailure as error:
        failure = error
    for mine, last in zip(numbers(fitting), before[1], strict=True):
        assert torch.equal(mine, last), "the weights are those of the last good step"
    assert all(torch.isfinite(t).all() for t in fitting.learner.ema.shadow.values())
    assert failure is not None
    assert failure.step == 2
    assert "gradients' norm of step 3 is" in str(failure)


@pytest.mark.parametrize("part", ["model", "ema", "optimizer"])
def test_a_state_that_is_not_finite_is_never_committed(alone: Group, tmp_path: Path, part: str) -> None:
    fitting = TrainState.build(config(), alone)
    for parameter in fitting.learner.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    fitting.learner.optimizer.step()
    spoilt = {
        "model": lambda: next(iter(fitting.learner.model.parameters())).data,
        "ema": lambda: next(iter(fitting.learner.ema.shadow.values())),
        "optimizer": lambda: next(iter(fitting.learner.optimizer.state.values()))["exp_avg_sq"],
    }[part]()
    spoilt.view(-1)[-1] = float("nan")
    store = open_store(StoreLocation(endpoint=f"file://{tmp_path}/store", bucket="b"), None)
    checkpoints = Checkpoints(config(), alone, store, RetryPolicy(1.0), tmp_path)
    refused = False
    try:
        checkpoints.save(fitting.state(), 3, 9)
    except NumericsFailure as error:
        refused = f"such as {part}" in str(error)
    assert refused
    assert not list(store.list(""))


def _trained(group: Group, folder: Path, skipped: tuple[int, ...]) -> Any:
    changes = {"skippedSteps": skipped} if skipped else {}
    fitting = TrainState.build(config(**changes), group)
    explode(fitting, at=1, until=2, here=group.rank == 1)
    steps: list[tuple[int, float]] = []
    outcome = "nothing"
    try:
        fit(fitting, group, lease(folder), lambda: steps.append((fitting.step, weight_of(fitting))))
    except NumericsFailure as error:
        outcome = f"a failure at {error.step}"
    return outcome, steps, [g["lr"] for g in fitting.learner.optimizer.param_groups]


def weight_of(fitting: TrainState) -> float:
    return sum(float(p.detach().double().abs().sum()) for p in fitting.learner.model.parameters())


def test_all_ranks_end_at_the_same_step_when_one_of_them_has_an_infinite_gradient(tmp_path: Path) -> None:
    first, second = on_ranks(2, tmp_path, _trained, ())
    assert first == second
    outcome, steps, _ = first
    assert outcome == "a failure at 1"
    assert [step for step, _ in steps] == [1]


def test_a_step_that_is_passed_over_changes_no_weight_and_the_run_goes_on_behind_it(tmp_path: Path) -> None:
    first, second = on_ranks(2, tmp_path, _trained, (1,))
    assert first == second
    outcome, steps, rates = first
    assert outcome == "nothing"
    numbers, weights = zip(*steps, strict=True)
    assert numbers == (1, 2, 3, 4)
    assert weights[0] == weights[1]
    assert len(set(weights[1:])) == 3
    assert rates == [3e-3 * learning_rate_share(4, 4)] * 2, "the rate is a function of the step"

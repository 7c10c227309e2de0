"""What a step trains on does not depend on how many train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kinema_api.run import RunConfig
from kinema_jobs.rendezvous.questions import Place
from kinema_jobs.train.group import Group, interface_of
from kinema_jobs.train.module import Shares
from kinema_jobs.train.train_state import TrainState
from kinema_model.config import PRESETS
from kinema_model.packing.planning import StreamState

pytestmark = pytest.mark.slow


CONFIG = RunConfig.model_validate(
    {
        "namespace": "default",
        "name": "trial",
        "uid": "u",
        "run": 1,
        "attempt": 1,
        "model": {"preset": "tiny", "overrides": {"width": 24, "depth": 1, "heads": 2}},
        "data": {"world": {"seed": 7}},
        "optimization": {"steps": 20, "batchTokens": 3 * PRESETS["tiny"].tokens_per_clip, "seed": 1},
        "checkpointEvery": 10,
    }
)


def group(rank: int, world: int) -> Group:
    """A view of a round; no process group behind it."""
    place = Place("u/1/1", 1, "token", "me", rank, world, rank, world, "127.0.0.1:1")
    return Group(place, rank, world, 0, 1, torch.device("cpu"), "127.0.0.1:1", 1.0, None)


@pytest.mark.parametrize("worlds", [[1, 2, 3, 1], [3, 5, 2], [4, 4]])
def test_samples_follow_the_step_through_every_resize(worlds: list[int]) -> None:
    seen: list[int] = []
    first, state = 0, StreamState()
    whole = TrainState.build(CONFIG, group(0, 1))
    for world in worlds:
        ranks = [group(rank, world) for rank in range(world)]
        shares = [Shares(whole.steps, first, first + 4, state, each, whole.feed) for each in ranks]
        for batches in zip(*shares, strict=True):
            assert len({step.number for step, _ in batches}) == 1
            seen += sorted(sample for _, share in batches for piece in share for sample in piece.samples)
            state = batches[0][0].after
        first += 4
    assert seen == list(range(3 * first)), "none lost, none twice"


def test_the_mean_of_uneven_shares_is_the_whole_gradient() -> None:
    def gradient(rank: int, world: int) -> torch.Tensor:
        fitting = TrainState.build(CONFIG, group(rank, world))
        torch.manual_seed(0)
        for parameter in fitting.learner.model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        step, (share,) = next(iter(Shares(fitting.steps, 0, 20, StreamState(), group(rank, world), fitting.feed)))
        (fitting.learner.loss(*share.make()).total * world / step.tokens).backward()
        return torch.cat([p.grad.flatten() for p in fitting.learner.model.parameters() if p.grad is not None])

    whole = gradient(0, 1)
    mean = (gradient(0, 2) + gradient(1, 2)) / 2
    torch.testing.assert_close(mean, whole, rtol=1e-4, atol=1e-6)


def test_state_survives_a_round_trip_and_the_rate_follows_the_step() -> None:
    one, two = (TrainState.build(CONFIG, group(0, 1)) for _ in range(2))
    for parameter in one.learner.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    one.learner.optimizer.step()
    one.learner.ema.update(one.learner.model)
    one.loss, one.stream = 0.25, StreamState(9, (4, 7))
    state: dict[str, Any] = one.state()
    two.restore(state, 7)
    assert (two.step, two.loss, two.learner.ema.updates, two.stream) == (7, 0.25, 1, one.stream)
    for mine, theirs in zip(two.learner.model.parameters(), one.learner.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    for _ in range(7):
        one.learner.schedule.step()
    rates = [[g["lr"] for g in f.learner.optimizer.param_groups] for f in (one, two)]
    assert rates[0] == rates[1]
    one.learner.schedule.step()
    two.learner.schedule.step()
    assert [g["lr"] for g in one.learner.optimizer.param_groups] == [
        g["lr"] for g in two.learner.optimizer.param_groups
    ]


def test_the_loopback_interface_is_found() -> None:
    assert interface_of("127.0.0.1") in {p.name for p in Path("/sys/class/net").iterdir()}
    assert interface_of("192.0.2.1") is None

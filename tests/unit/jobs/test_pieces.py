"""A share of a step that memory does not hold at once is computed in pieces, and teaches the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from kinema_api.training_memory import TrainingMemory
from kinema_jobs.train import memory
from kinema_jobs.train.failures import TrainingFailure
from kinema_jobs.train.group import Group
from kinema_jobs.train.memory import memory_of
from kinema_jobs.train.train_state import TrainState, fit
from kinema_model.config import ModelConfig
from kinema_model.packing.sharing import Load
from unit.jobs.rounds import CLIP, config, entered, group, lease, on_ranks

pytestmark = pytest.mark.slow


SHAPES = {"frames": [4, 8], "fps": [8, 12], "minSide": 16, "maxSide": 32}
MIXED = {
    "data": {"world": {"seed": 7, "shapes": SHAPES}, "tasks": {"text": 1, "image": 1, "extend": 1}},
    "optimization": {"steps": 2, "batchTokens": 6 * CLIP, "seed": 1},
}


def need() -> TrainingMemory:
    return memory_of(ModelConfig.from_preset("tiny", width=24, depth=1, heads=2))


def taught(group: Group, folder: Path, free: int | None, changes: dict[str, Any]) -> tuple[str, list[Any], list[int]]:
    """How building went, the gradients of every step, and how many samples were computed at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "free_memory", lambda device: free)
        try:
            fitting = TrainState.build(config(**changes), group)
        except TrainingFailure as error:
            return str(error), [], []
    torch.manual_seed(0)
    for parameter in fitting.learner.model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    whole, sizes = fitting.objective.batch, []

    def batch(indices: Any, step: int) -> Any:
        sizes.append(len(indices))
        return whole(indices, step)

    fitting.objective.batch = batch  # type: ignore[method-assign]
    gradients: list[Any] = []
    fitting.learner.optimizer.register_step_pre_hook(
        lambda *_: gradients.append(
            [p.grad.clone().numpy() for p in fitting.learner.model.parameters() if p.grad is not None]
        )
    )
    fit(fitting, group, lease(folder), lambda: None)
    return "", gradients, sizes


def test_a_step_that_fits_three_workers_is_trained_by_two(monkeypatch: pytest.MonkeyPatch) -> None:
    free = need().state + 2 * CLIP * need().token
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    refusals = []
    for world in (3, 2, 1):
        try:
            TrainState.build(config(optimization={"steps": 2, "batchTokens": 6 * CLIP, "seed": 1}), group(0, world))
        except TrainingFailure as error:
            refusals.append(f"{world} workers: {error}")
    assert refusals == []


@pytest.mark.parametrize("changes", [{"optimization": MIXED["optimization"]}, MIXED], ids=["equal", "mixed"])
def test_pieces_teach_what_the_whole_batch_teaches(tmp_path: Path, changes: dict[str, Any]) -> None:
    with entered(0, 1, dist.HashStore()) as alone:
        _, whole, at_once = taught(alone, tmp_path, None, changes)
        refused, parts, in_parts = taught(alone, tmp_path, need().state + 4 * CLIP * need().token, changes)
    assert refused == ""
    assert sum(in_parts) == sum(at_once)
    assert max(in_parts) < min(at_once)
    assert_alike(whole, parts)


def test_two_ranks_in_unlike_pieces_teach_what_one_rank_teaches(tmp_path: Path) -> None:
    with entered(0, 1, dist.HashStore()) as alone:
        _, whole, _ = taught(alone, tmp_path, None, MIXED)
    (refused, first, many), (_, second, few) = on_ranks(2, tmp_path, _unlike)
    assert refused == ""
    assert len(many) > len(few)
    assert_alike(whole, first)
    assert_alike(whole, second)


def _unlike(group: Group, folder: Path) -> Any:
    return taught(group, folder, None if group.rank else need().state + 2 * CLIP * need().token, MIXED)


def assert_alike(one: list[Any], other: list[Any]) -> None:
    """The first step's gradients; later ones are of weights that differ by rounding already."""
    assert len(one) == len(other)
    for mine, theirs in zip(one[0], other[0], strict=True):
        torch.testing.assert_close(torch.from_numpy(mine), torch.from_numpy(theirs), rtol=1e-3, atol=1e-6)


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 100))
def test_pieces_hold_every_sample_once_and_no_more_than_fits(sizes: list[int], most: int) -> None:
    from kinema_jobs.train.pieces import pieces

    found = pieces([Load(sample, tokens, 1.0) for sample, tokens in enumerate(sizes)], most)
    assert [sample for piece in found for sample in piece] == list(range(len(sizes)))
    assert all(sum(sizes[s] for s in piece) <= most or len(piece) == 1 for piece in found)

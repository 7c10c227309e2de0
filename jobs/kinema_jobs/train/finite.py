"""A state with NaN or infinity is never committed: no run can resume from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from kinema_jobs.train.failures import NumericsFailure
from kinema_jobs.train.group import Group


def require_finite(state: Mapping[str, Any], step: int, group: Group) -> None:
    """Check on all ranks that the state after `step` steps is finite; all call this at the same step.

    Raises:
        NumericsFailure: on every rank, if weights, optimizer state or averaged weights of some rank are not.
    """
    broken = [name for found in group.gather(_not_finite(state)) for name in found]
    if broken:
        raise NumericsFailure(
            f"after step {step} {len(set(broken))} tensors are not finite, such as {broken[0]}: the state is not used; "
            "lower optimization.learningRate",
            step=max(0, step - 1),
        )


def _not_finite(state: Mapping[str, Any]) -> list[str]:
    tensors = [(name, tensor) for name, tensor in _tensors(state) if tensor.is_floating_point() and tensor.numel()]
    return [name for name, tensor in tensors if not bool(torch.isfinite(tensor).all())]


def _tensors(state: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in state.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Tensor):
            yield name, value.detach()
        elif isinstance(value, Mapping):
            yield from _tensors(value, name)

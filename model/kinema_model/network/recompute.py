"""Activation checkpointing: blocks that keep less of the forward pass and compute it again on the way back.

Chen et al. 2016 (arXiv:1604.06174) for whole blocks; the selective form keeps the outputs of products and of attention,
which take long to compute (Korthikanti et al. 2022, arXiv:2205.05198).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

Recompute = Literal["none", "selective", "full"]
_KEPT: Final = (
    "mm",
    "addmm",
    "bmm",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
_PACKAGES: Final = ("aten", "torch_attn")


def run_block(block: nn.Module, mode: Recompute, *inputs: Any) -> Tensor:
    """The block's output for its inputs; where gradients are wanted it keeps what `mode` allows for the way back."""
    if mode == "none" or not torch.is_grad_enabled():
        out: Tensor = block(*inputs)
        return out
    contexts: dict[str, Any] = {"context_fn": _selective} if mode == "selective" else {}
    # Nothing in a block is random, so no state of a generator need be kept.
    recomputed: Tensor = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False, **contexts)
    return recomputed


_selective: Callable[[], Any] = partial(create_selective_checkpoint_contexts, lambda *args, **_: _policy(args[1]))


def _policy(operator: Any) -> CheckpointPolicy:
    name = getattr(operator, "_schema", None)
    package, _, base = name.name.partition("::") if name is not None else ("", "", "")
    kept = (package in _PACKAGES and base in _KEPT) or package == "torch_attn"
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

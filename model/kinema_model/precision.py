"""In which precision a network computes its products; weights, sums and what a sampler holds stay float32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
_AMPERE: Final = 8


def precision_for(wanted: Precision, device: torch.device) -> torch.dtype:
    """The dtype of products: what is wanted or, for "auto", bfloat16 on GPUs that have it (Ampere and later)."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] < _AMPERE:
        return torch.float32
    return torch.bfloat16


def products_in(precision: torch.dtype, device: str) -> AbstractContextManager[None]:
    """Products in this dtype where it is not float32, and no autocast where it is, on devices that know autocast."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, precision, enabled=precision is not torch.float32)

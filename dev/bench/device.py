"""The accelerator of a benchmark: peak FLOPs, compiler, attention kernel and memory."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

import torch

from kinema_model.network.attention import choose_kernel

GPU: Final = torch.cuda.is_available()
DEVICE: Final = torch.device("cuda" if GPU else "cpu")
# Dense bf16 FLOPs per second, from the vendor's data sheets; the first name that the device's holds.
PEAKS: Final = {"H100 PCIe": 756e12, "H200": 989e12, "H100": 989e12, "A100": 312e12}
_SIDE: Final = 2048
_PRODUCTS: Final = 5


def wait() -> None:
    """Wait until the device has finished its work."""
    if GPU:
        torch.cuda.synchronize()


def published_peak(dtype: torch.dtype) -> float | None:
    """Dense bf16 FLOPs per second of the device, where they are known and this is the dtype."""
    device = torch.cuda.get_device_name() if GPU and dtype is torch.bfloat16 else ""
    return next((flops for name, flops in PEAKS.items() if name in device), None)


def measured_peak(dtype: torch.dtype) -> float:
    """FLOPs per second of a large product of matrices in this dtype, here and now: the median of a few."""
    a, b = (torch.randn(_SIDE, _SIDE, device=DEVICE).to(dtype) for _ in range(2))
    torch.mm(a, b)
    seconds = []
    for _ in range(_PRODUCTS):
        wait()
        begun = time.perf_counter()
        torch.mm(a, b)
        wait()
        seconds.append(time.perf_counter() - begun)
    return 2 * _SIDE**3 / median(seconds)


def compilations() -> int:
    """Graphs compiled so far in this process; any after warm-up are recompilations."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def kernel(dtype: torch.dtype, head_width: int) -> str:
    """Name of the attention kernel that our network takes in this dtype with heads of this width."""
    return choose_kernel(DEVICE, dtype, head_width).__name__.strip("_").replace("_", " ")


def forget_peak_memory() -> None:
    """Reset the peak of device memory; the peak of a CPU's process cannot be reset."""
    if GPU:
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gib() -> float:
    """Largest amount of device memory held so far; on a CPU that of the process."""
    if GPU:
        return torch.cuda.max_memory_allocated() / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def name() -> str:
    """The device in words."""
    return torch.cuda.get_device_name() if GPU else "CPU"

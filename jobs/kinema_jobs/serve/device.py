"""Distinguishes the error of one order from a failed device: after some errors no CUDA call of the process works again.

A server that stayed up would stay ready and fail every order within milliseconds. So its process ends with an exit code
of its own, and a new process is ready only when its device computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kinema_api.wire import EXIT_CODES

EXIT_CODE: Final = EXIT_CODES["hardware"]
_OF_A_DEVICE: Final = re.compile(
    r"\b(CUDA|HIP|cuDNN|NCCL) (error|failure)|cuda runtime error|"
    r"\b(CUBLAS|CUDNN|CUSOLVER|CUSPARSE|HIPBLAS|MIOPEN)_STATUS_(NOT_INITIALIZED|EXECUTION_FAILED|INTERNAL_ERROR|"
    r"MAPPING_ERROR|ARCH_MISMATCH)|CUFFT_(INTERNAL_ERROR|EXEC_FAILED)|uncorrectable ECC|\bXid\b|"
    r"device-side assert|illegal memory access|unspecified launch failure|fallen off the bus",
    re.I,
)
_PASSING: Final = re.compile(
    r"out of memory|ALLOC_FAILED|invalid (argument|configuration argument|device function|resource handle|value)|"
    r"no kernel image|not supported|not permitted|too many resources requested",
    re.I,
)
"""Errors of one call, after which the next one works."""


def is_poisoned(error: BaseException) -> bool:
    """Whether an exception, or one of its causes, says that the device no longer works for this process."""
    return any(_OF_A_DEVICE.search(said) and not _PASSING.search(said) for said in _said(error))


def check() -> None:
    """Compute something on the GPU, if there is one. Raises torch's errors."""
    import torch  # slow

    if torch.cuda.is_available():
        made = torch.ones(64, 64, device="cuda")
        if float((made @ made).sum()) != 64.0**3:
            raise RuntimeError("CUDA error: the device computes wrong numbers")


def _said(error: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, RuntimeError):
            yield str(error)
        error = error.__cause__ or error.__context__

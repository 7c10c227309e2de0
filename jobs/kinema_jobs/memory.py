"""Free and total memory of this process, so that work that cannot fit is refused before it begins.

An out-of-memory kill leaves no message, and may end other processes of the container.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kinema_jobs.errors import MemoryShort

if TYPE_CHECKING:
    import torch

GIB: Final = 1 << 30
_CGROUPS: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")
_UNLIMITED: Final = 1 << 60
# Memory that the kernel reclaims before it kills; names in cgroup v2 and v1.
_RECLAIMABLE: Final = (
    ("inactive_file", "active_file", "slab_reclaimable"),
    ("total_inactive_file", "total_active_file"),
)
_NO_MEMORY: Final = re.compile(r"can(no|')t allocate memory|not enough memory|out of memory|STATUS_ALLOC_FAILED", re.I)
_FILES: Final = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def free_memory(device: torch.device) -> int | None:
    """Free bytes on this device; None if unknown.

    On the host the least of the machine's free memory and that of each cgroup of this process; swap does not count.
    """
    if device.type == "cuda":
        import torch  # slow to import; a process with a device has imported it already

        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_memory()


def free_host_memory(root: Path = _CGROUPS, proc: Path = _PROC) -> int | None:
    """As `free_memory` on the host, of the cgroups mounted at `root`."""
    rooms = [free for _, free in _rooms(root, proc / "self/cgroup")]
    if found := re.search(r"^MemAvailable: +(\d+) kB$", _text(proc / "meminfo"), re.M):
        rooms.append(int(found[1]) * 1024)
    return min(rooms, default=None)


def total_memory(device: torch.device) -> int | None:
    """Bytes of this device, used or free; None if unknown."""
    if device.type == "cuda":
        import torch  # as above

        return int(torch.cuda.mem_get_info(device)[1])
    return total_host_memory()


def total_host_memory(root: Path = _CGROUPS, proc: Path = _PROC) -> int | None:
    """As `total_memory` on the host: the least of the machine's memory and the limit of each cgroup of this process."""
    limits = [limit for limit, _ in _rooms(root, proc / "self/cgroup")]
    if found := re.search(r"^MemTotal: +(\d+) kB$", _text(proc / "meminfo"), re.M):
        limits.append(int(found[1]) * 1024)
    return min(limits, default=None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, as Python, torch on a CPU and CUDA put it."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error))))


@contextmanager
def memory_short(device: torch.device) -> Iterator[None]:
    """Raise `MemoryShort` where memory runs out, after the device's cache has been given back."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if device.type == "cuda":
            import torch  # as above

            torch.cuda.empty_cache()
        raise MemoryShort(
            "The clip does not fit into memory now: try again, or request a smaller size or fewer seconds."
        ) from None


def in_gib(size: int) -> str:
    """A size for people."""
    return f"{size / GIB:.3g} GiB"


def _rooms(root: Path, own: Path) -> Iterator[tuple[int, int]]:
    """(limit, free part of it) of every cgroup of this process, its own and its parents; v2 and v1."""
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mounted = root / "memory" if controllers else root
        group = mounted / path.lstrip("/")
        # The path may be the host's while only the container's own cgroup is mounted, as the root.
        for folder in (group, *group.parents):
            if folder.is_relative_to(mounted):
                yield from _room(folder, version=1 if controllers else 2)


def _room(folder: Path, version: int) -> Iterator[tuple[int, int]]:
    names, reclaimable = _FILES[2 - version], _RECLAIMABLE[2 - version]
    limit, used = (_text(folder / name).strip() for name in names)
    if limit.isdigit() and used.isdigit() and int(limit) < _UNLIMITED:
        numbers = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines())
        yield int(limit), max(0, int(limit) - int(used) + sum(int(numbers.get(name, 0)) for name in reclaimable))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""

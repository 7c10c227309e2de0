"""The workers of one round: torch's process groups, and the questions to the rendezvous about the round itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from kinema_jobs.rendezvous.errors import RendezvousError, StaleRound
from kinema_jobs.rendezvous.questions import Place, ask
from kinema_jobs.train.settings import TrainerSettings

_SIOCGIFADDR: Final = 0x8915
_STORE_SECONDS: Final = 30
_IPV6_ADDRESSES: Final = Path("/proc/net/if_inet6")
_RETIRE_SECONDS: Final = 3
T = TypeVar("T")


@dataclass
class Group:
    """One worker's view of its round."""

    place: Place
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    device: torch.device
    endpoint: str
    patience: float
    control: Any
    """Process group on gloo whose time-out is long enough for an outage of the object store."""

    def gather(self, value: T) -> list[T]:
        """Every rank's value, by rank."""
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return cast("list[T]", values)

    def broadcast(self, value: T) -> T:
        """Rank 0's value."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def require_current(self) -> None:
        """Raise StaleRound unless this round may still commit."""
        answer = ask(self.endpoint, self.place, "current", id=self.place.member, patience=self.patience)
        if not answer["current"]:
            raise StaleRound(f"round {self.place.number} is over: it commits nothing any more")

    def outdated(self, floor: int) -> None:
        """Ask for round numbers above `floor`, whose work lies in the bucket."""
        ask(self.endpoint, self.place, "outdated", floor=floor, patience=self.patience)

    def retire(self) -> None:
        """Tell the rendezvous that a newer one has claimed the attempt; no answer means that it is gone."""
        with contextlib.suppress(RendezvousError):
            ask(self.endpoint, self.place, "retire", patience=_RETIRE_SECONDS)


def enter(place: Place, settings: TrainerSettings) -> Group:
    """Make the process groups of a round; torchelastic has set RANK and the related variables."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local, local_world = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if interface := interface_of(settings.pod_ip):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    host, _, port = place.store.rpartition(":")
    tcp = TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=_STORE_SECONDS))
    dist.init_process_group(
        backend="nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(f"workers-{place.number}", tcp),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=settings.collective_seconds),
    )
    waits = settings.storage_patience_seconds + settings.collective_seconds
    control = dist.new_group(backend="gloo", timeout=timedelta(seconds=waits))
    return Group(
        place, rank, world, local, local_world, device, settings.rendezvous, settings.collective_seconds, control
    )


def interface_of(address: str) -> str | None:
    """Name of the network interface that has this address, so that gloo and NCCL use the advertised one."""
    if ":" in address:
        return _interface_of_ipv6(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # has no IPv4 address
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


def _interface_of_ipv6(address: str) -> str | None:
    wanted = ip_address(address).packed.hex()
    with suppress(OSError):
        for line in _IPV6_ADDRESSES.read_text().splitlines():
            number, *_, name = line.split()
            if number == wanted:
                return name
    return None

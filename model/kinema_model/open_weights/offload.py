"""Weights that lie in host memory and visit the device only while they are used.

Weights do not change, so nothing is copied back: leaving the device means to point at the host's copy again. Blocks of
a network take turns, and the next one is copied while one computes.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from kinema_model.network.transformer import VideoTransformer


class Offload(StrEnum):
    """What stays on the device: everything, one component at a time, or one component and two blocks of a network."""

    NONE = "none"
    COMPONENTS = "components"
    BLOCKS = "blocks"


class Visitor:
    """A module whose weights lie in host memory and come to `device` when they are called."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        tensors = [*module.parameters(), *module.buffers()]
        if device.type == "cuda":
            for tensor in tensors:
                tensor.data = tensor.data.pin_memory()
        self._tensors = [(tensor, tensor.data) for tensor in tensors]
        self._device = device
        self._copies: list[Tensor] | None = None
        self._copied: Any = None

    @property
    def here(self) -> bool:
        """Whether the device holds the weights, or is about to."""
        return self._copies is not None

    def call(self, stream: "torch.cuda.Stream | None" = None) -> None:
        """Begin to copy the weights to the device, on `stream` if there is one."""
        if self._copies is not None:
            return
        if stream is None:
            self._copies = [home.to(self._device, copy=True) for _, home in self._tensors]
            return
        # Allocated on the stream that computes, which is also the one that frees: memory is not reused too early.
        self._copies = [torch.empty_like(home, device=self._device) for _, home in self._tensors]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for copy, (_, home) in zip(self._copies, self._tensors, strict=True):
                copy.copy_(home, non_blocking=True)
            self._copied = stream.record_event()

    def enter(self) -> None:
        """Point the module at the device's copy; what computes next waits for it."""
        self.call()
        assert self._copies is not None
        if self._copied is not None:
            torch.cuda.current_stream(self._device).wait_event(self._copied)
        for copy, (tensor, _) in zip(self._copies, self._tensors, strict=True):
            tensor.data = copy

    def leave(self) -> None:
        """Point the module at the host's copy and let the device's go."""
        for tensor, home in self._tensors:
            tensor.data = home
        self._copies = self._copied = None


class BlockTurns:
    """Has the blocks of a network visit the device in turns; everything else of the network must be there already."""

    def __init__(self, network: VideoTransformer, device: torch.device) -> None:
        self.blocks = [Visitor(block, device) for block in network.blocks]
        make_stream: Any = torch.cuda.Stream
        self._stream = make_stream(device) if device.type == "cuda" else None
        for number, block in enumerate(network.blocks):
            block.register_forward_pre_hook(self._before(number))
            block.register_forward_hook(self._after(number))

    def _before(self, number: int) -> Any:
        def before(*_: Any) -> None:
            self.blocks[number].enter()
            self.blocks[(number + 1) % len(self.blocks)].call(self._stream)

        return before

    def _after(self, number: int) -> Any:
        def after(*_: Any) -> None:
            if len(self.blocks) > 1:
                self.blocks[number].leave()

        return after

    def leave(self) -> None:
        """Let go of every block."""
        for block in self.blocks:
            block.leave()


class Part:
    """A component of a pipeline, on the device always or only `with` it is used."""

    def __init__(self, module: nn.Module, device: torch.device, offload: Offload) -> None:
        self.module = module
        self.turns: BlockTurns | None = None
        """Of a network whose blocks visit the device in turns."""
        self._visitor: Visitor | None = None
        if offload is Offload.NONE:
            module.to(device)
        elif offload is Offload.BLOCKS and isinstance(module, VideoTransformer):
            rest = nn.ModuleList(child for name, child in module.named_children() if name != "blocks")
            rest.scale_shift_table = module.scale_shift_table
            self.turns, self._visitor = BlockTurns(module, device), Visitor(rest, device)
        else:
            self._visitor = Visitor(module, device)

    @property
    def visiting(self) -> bool:
        """Whether weights that belong in host memory are on the device now."""
        blocks = self.turns.blocks if self.turns is not None else []
        return any(each.here for each in (*blocks, self._visitor) if each is not None)

    def here(self) -> AbstractContextManager[None]:
        """The component is on the device within this context."""
        return nullcontext() if self._visitor is None else self._visit(self._visitor)

    @contextmanager
    def _visit(self, visitor: Visitor) -> Iterator[None]:
        visitor.enter()
        try:
            yield
        finally:
            visitor.leave()
            if self.turns is not None:
                self.turns.leave()

"""Compilation of a network block by block, which compiles one block once and serves all layers."""

import logging
from typing import Any, Final

import torch

from kinema_model.network import blocks
from kinema_model.network.transformer import VideoTransformer

# Of packs, which differ in length, number of levels and number of texts, before every size is known to vary.
MOST_RECOMPILES: Final = 64

logger = logging.getLogger(__name__)


def has_compiler(device: torch.device) -> bool:
    """Whether torch.compile works on this device; if not, the log says why."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception as error:
        logger.warning("blocks are not compiled: %s", str(error).splitlines()[0])
        return False
    return True


def compile_blocks(network: VideoTransformer) -> None:
    """Compile the blocks of a network, all but attention.

    Attention looks at lengths, which differ from pack to pack: a compiler would begin anew at each of a run's steps.
    """
    dynamo: Any = torch._dynamo
    dynamo.config.recompile_limit = MOST_RECOMPILES
    for name in ("attend", "attention"):
        setattr(blocks, name, dynamo.disable(getattr(blocks, name)))
    for block in network.blocks:
        block.compile()

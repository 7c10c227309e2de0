"""Random numbers by purpose, seed, sample and step, so that resumed and resized runs draw the same ones.

Philox is counter-based (Salmon et al. 2011, SC'11): a key and a counter select a stream, with no state to save. Neither
the rank that draws nor the number of restarts changes the numbers.
"""

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class RngStream(IntEnum):
    """The purpose of random numbers; numbers of different streams are independent."""

    WORLD = 1
    NOISE = 2
    LEVEL = 3
    TEXT_DROPOUT = 4
    INITIAL_NOISE = 5
    PROMPTS = 6
    WORLD_PLAN = 7
    TASK = 8
    CAPTION = 9
    STREAMING = 10
    BOOTSTRAP = 11
    EVALUATION = 12
    REFERENCE_NOISE = 13


def generator(stream: RngStream, seed: int, sample: int = 0, step: int = 0) -> np.random.Generator:
    """A generator for one purpose, run seed, sample and optimizer step (all non-negative)."""
    # The counter's low words advance as numbers are drawn; sample and step sit above them.
    return np.random.Generator(np.random.Philox(key=[seed, int(stream)], counter=[0, 0, sample, step]))


def normal(stream: RngStream, seed: int, samples: Sequence[int], step: int, shape: Sequence[int]) -> Tensor:
    """Standard normal float32 (len(samples), *shape), row i drawn for samples[i] alone."""
    rows = np.empty((len(samples), math.prod(shape)), dtype=np.float32)
    for row, sample in zip(rows, samples, strict=True):
        generator(stream, seed, sample, step).standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(rows).view(len(samples), *shape)


def uniform(stream: RngStream, seed: int, samples: Sequence[int], step: int) -> Tensor:
    """Float32 (len(samples),), uniform in [0, 1), value i drawn for samples[i] alone."""
    values = [generator(stream, seed, sample, step).random() for sample in samples]
    return torch.tensor(values, dtype=torch.float32)

"""The data of a training out of its spec: the world, prepared datasets of recorded clips, or both, mixed by weight.

The one module of the trainer that knows which kinds of data there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from kinema_api.objectstore import ObjectStore
from kinema_api.prepare import RunDataset
from kinema_api.run import RunConfig
from kinema_dataset.errors import BrokenDataset
from kinema_dataset.own_size import OwnSizeSource
from kinema_dataset.source import DatasetSource
from kinema_jobs.prepare.dataset_reader import StoreReader
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.settings import PodSettings
from kinema_jobs.train.storage import RetryPolicy
from kinema_jobs.train.world import source_of
from kinema_model.config import ModelConfig
from kinema_model.mixing import MixedSource
from kinema_model.source import Source

PREPARE_AGAIN: Final = "delete its folder and set a new runId, so that the clips are prepared again"
Share = float | Callable[[int], float]
"""The share of samples that are shown with the rich caption: of all, or by position."""


@dataclass(frozen=True)
class DatasetAccess:
    """How a process of a node reads datasets. Each process opens the store anew, so it may be passed on to others."""

    connect: Callable[[], ObjectStore]
    folder: Path
    """Folder for indices and the samples that were read lately, which all processes of the node share."""
    cache_bytes: int
    """Most bytes of samples in it."""
    patience_seconds: float

    @classmethod
    def of(cls, settings: PodSettings) -> DatasetAccess:
        """The access of a pod of the training."""
        folder = settings.scratch / "datasets"
        return cls(settings.open_store, folder, settings.dataset_cache_bytes, settings.storage_patience_seconds)


@dataclass(frozen=True)
class RunData:
    """What a run is trained on."""

    source: Source
    rich_captions: Share


def data_of(config: RunConfig, model: ModelConfig, access: DatasetAccess | None = None) -> RunData:
    """The clips of a run, and how they are captioned.

    Raises:
        BadConfiguration: the world does not fit the model, or a dataset is not the one that was prepared for the run.
        StorageFailure: the store of the datasets stayed away.
    """
    if config.data.videos and len(config.datasets) != len(config.data.videos):
        raise BadConfiguration("data.videos are not prepared: start the run with kinema run, or apply it to a cluster")
    parts: list[tuple[Source, float, float]] = []
    if world := config.data.world:
        parts.append((source_of(world, model), world.weight, world.rich_captions))
    for dataset in config.datasets:
        if access is None:
            raise BadConfiguration("recorded clips need an object store: see kinema_jobs.train.settings")
        # The seed is the run's own, so that all its ranks and attempts shuffle alike.
        source = open_dataset(dataset, access, seed=config.optimization.seed, datasets=len(config.datasets))
        shown = OwnSizeSource(source, model.height, model.width_px, config.data.own_size)
        parts.append((shown, dataset.weight, config.data.rich_captions))
    parts = [part for part in parts if part[1] > 0]
    if len(parts) == 1:
        ((only, _, rich),) = parts
        return RunData(only, rich)
    mixed = MixedSource([(source, weight) for source, weight, _ in parts])
    return RunData(mixed, partial(_rich, mixed, tuple(rich for _, _, rich in parts)))


def _rich(mixed: MixedSource, shares: tuple[float, ...], index: int) -> float:
    return shares[mixed.place(index)[0]]


def open_dataset(dataset: RunDataset, access: DatasetAccess, *, seed: int, datasets: int) -> DatasetSource:
    """One of so many datasets of a run, which share the cache. Raises `BadConfiguration`, `StorageFailure`."""
    reader = StoreReader(access.connect, dataset.prefix, RetryPolicy(access.patience_seconds))
    folder = access.folder / dataset.digest.removeprefix("sha256:")[:16]
    try:
        source = DatasetSource(reader, folder, access.cache_bytes // datasets, seed=seed)
    except BrokenDataset as error:
        raise BadConfiguration(
            f"the dataset {dataset.prefix} cannot be read: {error} To do so, {PREPARE_AGAIN}"
        ) from None
    if source.manifest.digest != dataset.digest:
        raise BadConfiguration(
            f"the dataset {dataset.prefix} is {source.manifest.digest}, not {dataset.digest}, which was prepared for "
            f"this run: {PREPARE_AGAIN}"
        )
    return source

"""The recorded clips that a model is judged by: the datasets of its run, or a dataset in a folder of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kinema_api.prepare import RunDataset
from kinema_dataset.errors import DatasetError
from kinema_dataset.reading import FolderReader
from kinema_dataset.source import DatasetSource, HeldOutBy
from kinema_evaluation.recorded.clips import RecordedData
from kinema_jobs.errors import JobError
from kinema_jobs.train.data import DatasetAccess, open_dataset
from kinema_model.mixing import MixedSource

# From what tells most to what tells nothing.
_ORDER: Final[tuple[HeldOutBy, ...]] = ("input", "segment", "nothing")
# Samples that were read lately; an evaluation reads each once.
_CACHE_BYTES: Final = 256 << 20


class DatasetUnusable(JobError):
    """A folder holds no dataset that can be read."""


def data_of_run(datasets: Sequence[RunDataset], access: DatasetAccess) -> RecordedData | None:
    """The clips of a run's datasets, as often as in training; None of a run without any.

    Raises:
        BadConfiguration: a dataset is not the one that was prepared for the run.
        StorageFailure: the store of the datasets stayed away.
    """
    used = [dataset for dataset in datasets if dataset.weight > 0]
    if not used:
        return None
    opened = [(open_dataset(one, access, seed=0, datasets=len(used)), one.weight) for one in used]
    held_out_by = max((source.held_out_by for source, _ in opened), key=_ORDER.index)
    return RecordedData(opened[0][0] if len(opened) == 1 else MixedSource(opened), held_out_by)


def data_in(folder: Path, cache: Path) -> RecordedData:
    """The clips of a dataset in a folder; what is read lies below `cache`. Raises `DatasetUnusable`."""
    try:
        source = DatasetSource(FolderReader(folder), cache, _CACHE_BYTES)
    except DatasetError as error:
        raise DatasetUnusable(f"--dataset {folder} cannot be read: {error}") from None
    return RecordedData(source, source.held_out_by)

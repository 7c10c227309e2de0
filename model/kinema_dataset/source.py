"""A dataset as what a training takes its clips from: by position, shuffled in each epoch, with clips held out.

Nothing is kept of what was used: a position alone tells epoch, clip and bytes, so a run of any size goes on with the
clips that follow. Of the index only a few numbers per clip are in memory; captions stay in its file, on the disk.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from kinema_dataset.cache import SampleCache
from kinema_dataset.errors import BrokenDataset
from kinema_dataset.index import DatasetManifest, fetch_index
from kinema_dataset.order import fraction, shuffled
from kinema_dataset.reading import RangeReader
from kinema_dataset.samples import SampleRecord, SampleShape
from kinema_dataset.shards import VIDEO, checked, tensors_in
from kinema_model.source import Clip

HELD_OUT: Final = 0.05
"""Share of the inputs that are kept for validation."""
_AGAIN: Final = "Prepare the dataset again."

HeldOutBy = Literal["input", "segment", "nothing"]


@dataclass(frozen=True)
class _Rows:
    """Of each sample in the index: where its line begins and its shape."""

    lines: NDArray[np.int64]
    """(N + 1,): the last one is the end of the file."""
    sizes: NDArray[np.int32]
    """(N, 3): frames, height and width in pixels."""
    rates: NDArray[np.float64]
    inputs: NDArray[np.float64]
    """`fraction` of the input's URI."""
    segments: NDArray[np.float64]
    """`fraction` of the segment."""


class DatasetSource:
    """A `kinema_model.source.Source` of the clips of a dataset, which `reader` reads.

    `folder` holds the index and the samples that were read lately, at most `cache_bytes` of them beside the index; all
    processes of a node may share it. Of the inputs, the share `held_out` is for validation, with all their shots: by a
    hash of the URI, so that inputs which are added later move no other. Where there are too few inputs to hold one out
    (fewer than 1 / held_out), segments are held out instead, and of a dataset with too few segments nothing:
    `held_out_by` tells which, and validation then shows clips that are trained on.

    Raises:
        BrokenDataset: manifest or index is missing, damaged or contradicts itself.
    """

    def __init__(
        self, reader: RangeReader, folder: Path, cache_bytes: int, seed: int = 0, held_out: float = HELD_OUT
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._reader, self._seed, self._share = reader, seed, held_out
        self.manifest = DatasetManifest.read(reader)
        self._index = fetch_index(reader, self.manifest, folder)
        self._rows = _scan(self._index, self.manifest.samples)
        self._cache = SampleCache(folder / "samples", cache_bytes)
        held, self.held_out_by = _held_out(self._rows, held_out)
        self._training = np.flatnonzero(~held)
        self._validation = np.flatnonzero(held) if held.any() else self._training

    @property
    def digest(self) -> str:
        """`sha256:...` of the dataset's digest, the order of its clips and what is held out."""
        parts = [self.manifest.digest, self._seed, self._share]
        return f"sha256:{sha256(json.dumps(parts).encode()).hexdigest()}"

    def __len__(self) -> int:
        """Clips of an epoch."""
        return len(self._training)

    def shape(self, index: int) -> SampleShape:
        """As `Source.shape`; from memory."""
        return self._shape(self._row(index))

    def largest_shapes(self) -> Sequence[SampleShape]:
        """The longest clips of every size, those that are held out among them."""
        sizes = self._rows.sizes
        order = np.lexsort((sizes[:, 0], sizes[:, 2], sizes[:, 1]))
        last = np.append(np.any(np.diff(sizes[order, 1:], axis=0) != 0, axis=1), True)
        return [self._shape(int(row)) for row in order[last]]

    def clips(self, indices: Sequence[int]) -> Sequence[Clip]:
        """As `Source.clips`. Raises `BrokenShard`, `BrokenDataset`, and what the reader raises."""
        return [self._clip(self._row(index)) for index in indices]

    def validation(self, count: int) -> Sequence[Clip]:
        """Clips that are held out, spread evenly over them; all of them where there are fewer than `count`."""
        few = min(count, len(self._validation))
        rows = [int(self._validation[number * len(self._validation) // few]) for number in range(few)]
        return [self._clip(row) for row in rows]

    def texts(self) -> Iterable[str]:
        """Every caption of the dataset."""
        with self._index.open("rb") as file:
            for line in file:
                captions = SampleRecord.from_line(line, self._index.name).about.captions
                yield from (captions.short, captions.rich, *captions.shots)

    def files(self) -> Mapping[str, str]:
        """What the dataset was, as JSON, in a file whose name has the dataset's digest."""
        told = self.manifest.model_dump(mode="json", exclude={"shards", "index"})
        told |= {"trainingClips": len(self._training), "heldOutBy": self.held_out_by}
        name = self.manifest.digest.removeprefix("sha256:")[:16]
        return {f"dataset-{name}.json": json.dumps(told, indent=2, sort_keys=True) + "\n"}

    def record(self, index: int) -> SampleRecord:
        """All that is recorded of the clip at a position."""
        return self._record(self._row(index))

    def _row(self, index: int) -> int:
        epoch, position = divmod(index, len(self._training))
        return int(self._training[shuffled(position, len(self._training), self._seed, epoch)])

    def _shape(self, row: int) -> SampleShape:
        frames, height, width = map(int, self._rows.sizes[row])
        fps = float(self._rows.rates[row])
        # Its bounds were checked when the index was opened, and planning asks for many shapes.
        return SampleShape.model_construct(frames=frames, height=height, width=width, fps=fps)

    def _record(self, row: int) -> SampleRecord:
        first, end = self._rows.lines[row : row + 2]
        # Opened for each line: a source may be passed on to other processes.
        with self._index.open("rb") as file:
            file.seek(int(first))
            line = file.read(int(end - first))
        return SampleRecord.from_line(line, f"{self._index.name}, line {row + 1}")

    def _clip(self, row: int) -> Clip:
        record = self._record(row)

        def fetch() -> bytes:
            return checked(self._reader.read(self.manifest.at + record.shard, record.first, record.length), record)

        tensors = tensors_in(self._cache.get(record.sha256, fetch), record)
        about = record.about
        shape = (about.shape.frames, about.shape.height, about.shape.width, 3)
        video = tensors.get(VIDEO)
        if video is None or tuple(video.shape) != shape:
            raise BrokenDataset(f"{self._index.name}, line {row + 1}: no pixels of {shape}. {_AGAIN}")
        return Clip(video, about.shape.fps, about.captions.captions(), about.starts)


def _held_out(rows: _Rows, share: float) -> tuple[NDArray[np.bool_], HeldOutBy]:
    """Which samples are held out, and by what."""
    held = _chosen(rows.inputs, share)
    if held.any():
        return held, "input"
    held = _chosen(rows.segments, share)
    return held, "segment" if held.any() else "nothing"


def _chosen(fractions: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Those below the share; the least one where there is none, and enough of them for one; never all."""
    names = np.unique(fractions)
    if share <= 0 or len(names) * share < 1:
        return np.zeros(len(fractions), dtype=np.bool_)
    limit = max(share, float(names[0]) + 1e-15) if names[0] >= share else share
    return np.asarray(fractions < min(limit, float(names[-1])))


def _scan(path: Path, samples: int) -> _Rows:
    """The rows of an index that was verified. Raises `BrokenDataset`."""
    rows = _Rows(
        np.zeros(samples + 1, np.int64), np.zeros((samples, 3), np.int32), *(np.zeros(samples) for _ in range(3))
    )
    at, number = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file, samples), 1):
            row = number - 1
            try:
                about = json.loads(line)["about"]
                shape, segment = about["shape"], about["segment"]
                rows.sizes[row] = shape["frames"], shape["height"], shape["width"]
                rows.rates[row] = shape["fps"]
                rows.inputs[row] = fraction(segment["input"])
                rows.segments[row] = fraction(f"{segment['input']}#{segment['first']}-{segment['end']}")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
                where = f"{path.name}, line {number}"
                raise BrokenDataset(f"{where}: {type(error).__name__} in about. {_AGAIN}") from None
            at += len(line)
            rows.lines[number] = at
    if number != samples:
        raise BrokenDataset(f"{path.name} has {number} lines and dataset.json says {samples}. {_AGAIN}")
    if rows.sizes.min() < 1 or not 0 < rows.rates.min() <= rows.rates.max() <= 1000:
        raise BrokenDataset(f"{path.name}: the shape of a clip is out of bounds. {_AGAIN}")
    return rows


def _lines(file: Iterable[bytes], most: int) -> Iterator[bytes]:
    for number, line in enumerate(file):
        if number == most:
            raise BrokenDataset(f"The index has more than the {most} lines of dataset.json. {_AGAIN}")
        yield line

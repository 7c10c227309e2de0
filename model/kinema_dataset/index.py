"""The list of a dataset's samples, and the digest that names the dataset.

A dataset is shards, `index.jsonl` with a line per sample, and `dataset.json`, which names all of them by sha256 and is
written last: a folder without it is no dataset, so nothing half-written is read. Lines are in the order of their
segments and the digest is of what a training sees, so neither depends on which worker wrote what, and when.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, Self

from pydantic import Field, JsonValue, ValidationError

from kinema_dataset.errors import BrokenDataset
from kinema_dataset.issues import shown
from kinema_dataset.reading import MAX_WHOLE_BYTES, RangeReader
from kinema_dataset.records import Record
from kinema_dataset.samples import FileName, SampleRecord, Sha256, canonical

MANIFEST_FILE: Final = "dataset.json"
INDEX_FILE: Final = "index.jsonl"
FORMAT: Final = "kinema-dataset/1"
BESIDE: Final = "../shards/"
"""Where shards lie that datasets of one folder share."""
MAX_INDEX_BYTES: Final = 8 << 30
_PIECE: Final = 16 << 20
"""Bytes of one request for the index."""
_AGAIN: Final = "Prepare the dataset again."


class FileEntry(Record):
    """A file of the dataset."""

    name: FileName
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class DatasetManifest(Record):
    """dataset.json: what the dataset consists of.

    `settings` are those of preparing that shaped its samples; `at` is where its shards lie, seen from dataset.json.
    """

    format: Literal["kinema-dataset/1"]
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    samples: Annotated[int, Field(ge=1)]
    inputs: Annotated[int, Field(ge=1)]
    index: FileEntry
    shards: Annotated[tuple[str, ...], Field(min_length=1)]
    at: Literal["", "../shards/"] = ""
    settings: dict[str, JsonValue]

    @classmethod
    def read(cls, reader: RangeReader) -> Self:
        """Read dataset.json. Raises `BrokenDataset`."""
        data = reader.whole(MANIFEST_FILE, MAX_WHOLE_BYTES)
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(map(str, first["loc"])) or MANIFEST_FILE
            raise BrokenDataset(f"{MANIFEST_FILE}: {at}: {first['msg']}. {_AGAIN}") from None


def finish(
    folder: Path, lines: Iterable[bytes], settings: Mapping[str, JsonValue], at: Literal["", "../shards/"] = ""
) -> DatasetManifest:
    """Write index and manifest of the samples that `lines` tell of, in any order, into a folder.

    A segment that two workers prepared alike counts once. The shards lie at `at`, seen from the folder.

    Raises:
        BrokenDataset: there is no sample, a line is none, or a segment has two contents.
    """
    joined = _joined(lines)
    if not joined:
        raise BrokenDataset(
            f"No sample is left: every clip was dropped. See the report, and lower a threshold. {folder}"
        )
    whole = sha256(canonical([FORMAT, dict(settings)]))
    index = sha256()
    size = 0
    with _written(folder / INDEX_FILE) as out:
        for digest, record in joined:
            line = record.to_line()
            out.write(line)
            index.update(line)
            size += len(line)
            whole.update(bytes.fromhex(digest))
    manifest = DatasetManifest(
        format=FORMAT,
        digest=f"sha256:{whole.hexdigest()}",
        samples=len(joined),
        inputs=len({record.about.segment.input for _, record in joined}),
        index=FileEntry(name=INDEX_FILE, bytes=size, sha256=index.hexdigest()),
        shards=tuple(sorted({record.shard for _, record in joined})),
        at=at,
        settings=dict(settings),
    )
    with _written(folder / MANIFEST_FILE) as out:
        out.write(canonical(manifest.model_dump(mode="json")) + b"\n")
    return manifest


def fetch_index(reader: RangeReader, manifest: DatasetManifest, folder: Path) -> Path:
    """The index as a file of `folder`, which processes of a node share: fetched unless it is there already.

    Raises:
        BrokenDataset: it is not the index that the manifest names.
    """
    entry = manifest.index
    if entry.bytes > MAX_INDEX_BYTES:
        raise BrokenDataset(f"{entry.name} has {entry.bytes} bytes, more than {MAX_INDEX_BYTES}. Split the dataset.")
    path = folder / f"{entry.sha256}.jsonl"
    if path.is_file() and path.stat().st_size == entry.bytes and _digest_of(path) == entry.sha256:
        return path
    digest = sha256()
    with _written(path) as out:
        for first in range(0, entry.bytes, _PIECE):
            piece = reader.read(entry.name, first, min(_PIECE, entry.bytes - first))
            digest.update(piece)
            out.write(piece)
        if digest.hexdigest() != entry.sha256:
            raise BrokenDataset(f"{entry.name} does not match its digest: bytes were changed or lost. {_AGAIN}")
    return path


def _joined(lines: Iterable[bytes]) -> list[tuple[str, SampleRecord]]:
    """Content digests and records in the order of segments, each once: of equal ones that in the first shard."""
    found: dict[tuple[str, int, int], tuple[str, SampleRecord]] = {}
    for number, line in enumerate(lines, 1):
        record = SampleRecord.from_line(line, f"line {number} of the parts")
        digest = record.content_digest()
        known, other = found.setdefault(record.identity, (digest, record))
        if known != digest:
            uri, first, end = record.identity
            raise BrokenDataset(f"{shown(uri)}, frames {first} to {end}: two shards hold it differently. {_AGAIN}")
        if (record.shard, record.first) < (other.shard, other.first):
            found[record.identity] = digest, record
    return [found[identity] for identity in sorted(found)]


@contextlib.contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that has its name only once it is whole and on the disk."""
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        Path(partial).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(partial).unlink()
        raise


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        digest = sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()

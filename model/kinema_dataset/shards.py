"""Samples packed into safetensors files: one range holds all tensors of a sample, and its sha256 is known.

The library that writes safetensors sorts tensors by their type, which tears samples apart; the format allows any order,
so the header is written here, and the library reads the file. Tensors of a sample lie by falling size of an element,
so that each is aligned in the bytes of its sample. A shard's name is its sha256, so writing it twice does no harm.

Source: safetensors, README, "Format".
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from torch import Tensor

from kinema_dataset.errors import BrokenShard, SampleRefused
from kinema_dataset.issues import shown
from kinema_dataset.reading import RangeReader
from kinema_dataset.samples import ITEM_BYTES, MAX_SAMPLE_BYTES, About, SampleRecord, TensorEntry

TARGET_BYTES: Final = 256 << 20
"""Usual length of a shard."""
VIDEO: Final = "video"
"""Pixels, uint8 (T, H, W, 3)."""
LATENTS: Final = "latents"
"""Latents of the codec, (C, T', H', W')."""
FIRST_FRAME: Final = "first_frame"
"""Latents of the first frame encoded alone, (C, 1, H', W')."""
TEXT_SHORT: Final = "text.short"
TEXT_RICH: Final = "text.rich"
"""Text states of the captions, (L, D)."""
_DTYPES: Final = {
    "U8": torch.uint8,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "I64": torch.int64,
}
_CODES: Final = {dtype: code for code, dtype in _DTYPES.items()}
_ALIGNMENT: Final = 8


@dataclass(frozen=True)
class Sample:
    """One clip to be stored: its tensors by name (see VIDEO, LATENTS and so on), on the CPU."""

    about: About
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Shard:
    """A file of samples, as it was written."""

    name: str
    length: int
    sha256: str
    records: tuple[SampleRecord, ...]

    def lines(self) -> bytes:
        """Its records as JSON lines: what workers leave beside a shard, after it, for `index.finish` to join."""
        return b"".join(record.to_line() for record in self.records)


@dataclass(frozen=True)
class _Laid:
    """A sample whose tensors are in the order in which they are stored."""

    about: About
    entries: tuple[TensorEntry, ...]
    tensors: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        return sum(entry.bytes for entry in self.entries)

    def parts(self) -> Iterator[memoryview]:
        for tensor in self.tensors:
            yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def groups(samples: Iterable[Sample], target: int = TARGET_BYTES) -> Iterator[list[Sample]]:
    """Samples in their order, in groups of about `target` bytes: one for each shard."""
    group: list[Sample] = []
    size = 0
    for sample in samples:
        group.append(sample)
        size += sum(tensor.nbytes for tensor in sample.tensors.values())
        if size >= target:
            yield group
            group, size = [], 0
    if group:
        yield group


def write_shard(folder: Path, samples: Sequence[Sample]) -> Shard:
    """Write samples into one file of `folder`, which has its name only once it is whole.

    Raises:
        SampleRefused: there is none, or one holds a tensor that no shard can hold; names it.
    """
    if not samples:
        raise SampleRefused("A shard needs a sample. Give at least one.")
    laid = [_lay(sample) for sample in samples]
    header = _header(laid)
    whole, records = sha256(header), []
    handle, partial = tempfile.mkstemp(dir=folder, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(header)
            for sample in laid:
                first, own = out.tell(), sha256()
                for part in sample.parts():
                    out.write(part)
                    whole.update(part)
                    own.update(part)
                records.append((sample, first, own.hexdigest()))
            size = out.tell()
            out.flush()
            os.fsync(out.fileno())
        name = f"{whole.hexdigest()}.safetensors"
        Path(partial).replace(folder / name)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(partial).unlink()
        raise
    made = (_record(name, *record) for record in records)
    return Shard(name, size, whole.hexdigest(), tuple(made))


def read_sample(reader: RangeReader, record: SampleRecord) -> dict[str, Tensor]:
    """The tensors of a sample by name, by one request. Raises `BrokenShard` where a byte is not as it was written."""
    return tensors_in(checked(reader.read(record.shard, record.first, record.length), record), record)


def checked(data: bytes, record: SampleRecord) -> bytes:
    """`data` itself, if it is the sample's bytes. Raises `BrokenShard`, which names shard and sample."""
    if len(data) != record.length or sha256(data).hexdigest() != record.sha256:
        last = record.first + record.length
        raise BrokenShard(
            f"{record.shard}: bytes {record.first} to {last} are not those that were written (a clip of "
            f"{shown(record.about.segment.input)}). Restore the shard, or prepare the dataset again."
        )
    return data


def tensors_in(data: bytes, record: SampleRecord) -> dict[str, Tensor]:
    """The tensors in the bytes of a sample, by name."""
    copied, at = bytearray(data), 0
    found: dict[str, Tensor] = {}
    for entry in record.tensors:
        dtype, count = _DTYPES[entry.dtype], entry.bytes // ITEM_BYTES[entry.dtype]
        found[entry.name] = torch.frombuffer(copied, dtype=dtype, count=count, offset=at).view(entry.shape)
        at += entry.bytes
    return found


def check_shard(reader: RangeReader, records: Iterable[SampleRecord]) -> int:
    """Read these samples and count them. Raises `BrokenShard` for the first of which a byte is not as written."""
    count = 0
    for record in records:
        checked(reader.read(record.shard, record.first, record.length), record)
        count += 1
    return count


def _lay(sample: Sample) -> _Laid:
    where = shown(sample.about.segment.input)
    entries = []
    for name, tensor in sample.tensors.items():
        try:
            dtype = _CODES.get(tensor.dtype, str(tensor.dtype))
            entries.append(TensorEntry.model_validate({"name": name, "dtype": dtype, "shape": tuple(tensor.shape)}))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(map(str, first["loc"]))
            raise SampleRefused(f"{where}: tensor {shown(name)}: {at}: {first['msg']}. Correct it.") from None
    entries.sort(key=lambda entry: (-ITEM_BYTES[entry.dtype], entry.name))
    laid = _Laid(sample.about, tuple(entries), tuple(sample.tensors[entry.name] for entry in entries))
    if not 0 < laid.length <= MAX_SAMPLE_BYTES:
        raise SampleRefused(f"{where}: a clip of {laid.length} bytes fits into no shard. Cut it shorter.")
    return laid


def _header(laid: Sequence[_Laid]) -> bytes:
    """The head of a safetensors file: its length as 8 bytes, and JSON that is filled up with spaces."""
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for number, sample in enumerate(laid):
        for entry in sample.entries:
            offsets = [at, at + entry.bytes]
            described[f"{number:06d}/{entry.name}"] = {
                "dtype": entry.dtype,
                "shape": list(entry.shape),
                "data_offsets": offsets,
            }
            at = offsets[1]
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _record(shard: str, sample: _Laid, first: int, digest: str) -> SampleRecord:
    return SampleRecord(
        about=sample.about, tensors=sample.entries, shard=shard, first=first, length=sample.length, sha256=digest
    )

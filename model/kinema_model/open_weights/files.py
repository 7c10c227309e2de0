"""Reading a folder that nobody vouches for: bounded JSON, headers of safetensors, and no way out of the folder.

Nothing here reads a weight. A header tells names, types, shapes and extents of tensors, and these are held against the
size of the file, so a truncated file is found before anything is loaded.
"""

import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from kinema_model.errors import BrokenArtefact

ADVICE: Final = "Fetch a fresh copy of the folder."
MAX_FILES: Final = 2_000
MAX_JSON_BYTES: Final = 16 << 20
MAX_HEADER_BYTES: Final = 32 << 20
MAX_TENSORS: Final = 100_000
PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".joblib")
PROGRAMS: Final = (".py", ".pyc", ".so", ".sh")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.safetensors")
_BYTES: Final = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies and what its file says of it; `dtype` is F32, F16 or BF16."""

    file: Path
    name: str
    """Its name in the file."""
    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        """Numbers in the tensor."""
        return prod(self.shape)


def first_line(error: BaseException) -> str:
    """What an error of a library says, without the stack that some put below it."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def check_tree(folder: Path) -> None:
    """Refuse what has no place among weights: pickles, programs, links out of the folder, floods of files.

    Raises `BrokenArtefact`, naming the file.
    """
    root = folder.resolve()
    for number, path in enumerate(_walk(folder)):
        if number >= MAX_FILES:
            raise BrokenArtefact(f"{folder} holds more than {MAX_FILES} files. Give the folder of one pipeline.")
        if not path.resolve().is_relative_to(root):
            raise BrokenArtefact(f"{path} is a link out of the folder. Copy the file itself (cp -rL).")
        if path.suffix.lower() in PICKLES:
            raise BrokenArtefact(
                f"{path} is a pickle, which can run code when it is read. Convert it to safetensors and remove it."
            )
        if path.suffix.lower() in PROGRAMS:
            raise BrokenArtefact(f"{path} is a program, and no code of a folder is run. Remove it.")


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if name not in (".git", ".cache")]
        yield from (Path(parent) / name for name in (*files, *folders))


def read_object(path: Path) -> dict[str, Any]:
    """An object from a JSON file of at most 16 MiB. Raises `BrokenArtefact`, naming the file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise BrokenArtefact(f"{path} is longer than {MAX_JSON_BYTES >> 20} MiB. {ADVICE}")
        found = json.loads(data)
    except FileNotFoundError:
        raise BrokenArtefact(f"{path} is missing. {ADVICE}") from None
    except RecursionError:
        raise BrokenArtefact(f"{path} is nested too deeply to be read. {ADVICE}") from None
    except (OSError, ValueError) as error:
        raise BrokenArtefact(f"{path} cannot be read as JSON: {error}. {ADVICE}") from error
    if not isinstance(found, dict):
        raise BrokenArtefact(f"{path} holds no JSON object. {ADVICE}")
    return found


def stored_tensors(folder: Path, stem: str) -> dict[str, StoredTensor]:
    """Tensors by name of `<stem>.safetensors` or of the shards that `<stem>.safetensors.index.json` names.

    Raises `BrokenArtefact`, naming the file, for one that is missing, truncated or contradicts the index.
    """
    whole, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if whole.is_file():
        return read_header(whole)
    if not index.is_file():
        raise BrokenArtefact(f"{whole} is missing, and so is {index.name}. {ADVICE}")
    places = _weight_map(index)
    found: dict[str, StoredTensor] = {}
    for shard in sorted(set(places.values())):
        found |= read_header(folder / shard)
    if astray := sorted(found.keys() ^ places.keys()):
        raise BrokenArtefact(f"{index} and the files that it names disagree about {astray[0]}. {ADVICE}")
    return found


def _weight_map(index: Path) -> dict[str, str]:
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise BrokenArtefact(f"{index} has no weight_map. {ADVICE}")
    for shard in places.values():
        if not isinstance(shard, str) or not _PLAIN_NAME.fullmatch(shard):
            raise BrokenArtefact(f"{index}: weight_map names {shard!r}, which is no safetensors file here. {ADVICE}")
    return places


def read_header(path: Path) -> dict[str, StoredTensor]:
    """What a safetensors file says of its tensors, held against the file's size. Raises `BrokenArtefact`."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
            if length > min(MAX_HEADER_BYTES, size - 8):
                raise BrokenArtefact(f"{path} is truncated: it ends within its header. {ADVICE}")
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise BrokenArtefact(f"{path} is missing. {ADVICE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenArtefact(f"{path} has no readable safetensors header: {error}. {ADVICE}") from error
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise BrokenArtefact(f"{path} has no readable safetensors header. {ADVICE}")
    header.pop("__metadata__", None)
    found = {name: _tensor(path, name, entry, size - 8 - length) for name, entry in header.items()}
    held = sum(tensor.numel * _BYTES[tensor.dtype] for tensor in found.values())
    if held != size - 8 - length:
        raise BrokenArtefact(
            f"{path} is truncated or damaged: its tensors take {held} bytes, it holds {size - 8 - length}. {ADVICE}"
        )
    return found


def _tensor(path: Path, name: str, entry: Any, data_bytes: int) -> StoredTensor:
    """One entry of a header. Raises `BrokenArtefact`, naming file and tensor."""
    shape, dtype, extent = (_field(entry, key) for key in ("shape", "dtype", "data_offsets"))
    if dtype not in _BYTES:
        raise BrokenArtefact(f"{path}: {name} is {dtype!r}. Convert the weights to F32, F16 or BF16.")
    if not _are_counts(shape) or not _are_counts(extent) or len(extent) != 2:
        raise BrokenArtefact(f"{path}: {name} has no readable shape or extent. {ADVICE}")
    begin, end = extent
    if end > data_bytes:
        raise BrokenArtefact(f"{path} is truncated: {name} ends at byte {end} of {data_bytes}. {ADVICE}")
    if end - begin != prod(shape) * _BYTES[dtype]:
        raise BrokenArtefact(f"{path}: {name} has shape {tuple(shape)} and {end - begin} bytes. {ADVICE}")
    return StoredTensor(path, name, tuple(shape), dtype)


def _field(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and len(values) <= 8 and all(type(v) is int and v >= 0 for v in values)


def check_shapes(found: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]], where: Path) -> None:
    """Hold stored tensors against the shapes that a config implies. Raises `BrokenArtefact`, naming file and tensor."""
    if missing := sorted(expected.keys() - found.keys()):
        raise BrokenArtefact(f"{where} lacks {missing[0]} ({len(missing)} missing in all). {ADVICE}")
    if unknown := sorted(found.keys() - expected.keys()):
        raise BrokenArtefact(
            f"{found[unknown[0]].file} holds {unknown[0]}, for which {where / 'config.json'} has no place. {ADVICE}"
        )
    for name, tensor in found.items():
        if tensor.shape != expected[name]:
            raise BrokenArtefact(
                f"{tensor.file}: {name} has shape {tensor.shape}, config.json says {expected[name]}. {ADVICE}"
            )

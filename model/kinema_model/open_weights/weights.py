"""Weights of a checked folder onto a device: memory-mapped, in parallel, and held against the manifest's digests.

Files are read by several threads, since one rarely fills a disk or a bus; each tensor goes to its device and dtype as
it is read, so the whole of a component never lies in host memory beside itself.
"""

import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kinema_model.errors import BrokenArtefact
from kinema_model.open_weights.components import assign, dtype_of
from kinema_model.open_weights.files import ADVICE, MAX_FILES, StoredTensor, read_object
from kinema_model.open_weights.folder import Weights

MANIFEST_FILE: Final = "manifest.json"
READERS: Final = 4
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def verify(folder: Path) -> int:
    """Compare every file that the folder's manifest.json names with its sha256; how many they are, 0 without one.

    A manifest holds `files`, each with `name` relative to the folder and `sha256`. Raises `BrokenArtefact`, naming the
    file that is missing or differs.
    """
    manifest = folder / MANIFEST_FILE
    if not manifest.is_file():
        return 0
    files = read_object(manifest).get("files")
    if not isinstance(files, list) or len(files) > MAX_FILES:
        raise BrokenArtefact(f"{manifest} has no list of at most {MAX_FILES} files. {ADVICE}")
    promised = dict(_promise(entry, folder) for entry in files)
    unnamed = {path for path in folder.rglob("*.safetensors") if path.is_file()} - promised.keys()
    if unnamed:
        raise BrokenArtefact(f"{manifest} does not name {min(unnamed)}. {ADVICE}")
    with ThreadPoolExecutor(READERS) as readers:
        for path, digest in zip(promised, readers.map(_sha256, promised), strict=True):
            if digest != promised[path]:
                raise BrokenArtefact(f"{path} does not match its sha256 in {MANIFEST_FILE}. {ADVICE}")
    return len(promised)


def _promise(entry: Any, folder: Path) -> tuple[Path, str]:
    name, digest = (entry.get(key) if isinstance(entry, dict) else None for key in ("name", "sha256"))
    if not isinstance(name, str) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BrokenArtefact(f"{folder / MANIFEST_FILE} has an entry without name or sha256. {ADVICE}")
    path = folder / name
    if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise BrokenArtefact(f"{folder / MANIFEST_FILE} names {name!r}, which lies outside the folder. {ADVICE}")
    return path, digest


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BrokenArtefact(f"{path} cannot be read: {error.strerror}. {ADVICE}") from error


def load(weights: Weights, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The component's module with its weights on `device`. Raises `BrokenArtefact`, naming the file.

    `dtype` holds for what the libraries of the format do not keep in float32.
    """
    module = weights.module
    files: dict[Path, dict[str, StoredTensor]] = {}
    for name, tensor in weights.tensors.items():
        files.setdefault(tensor.file, {})[name] = tensor
    with ThreadPoolExecutor(READERS) as readers:
        parts = readers.map(lambda path: _read(path, files[path], module, device, dtype), files)
        assign(module, {name: tensor for part in parts for name, tensor in part.items()})
    return module


def _read(
    path: Path, wanted: Mapping[str, StoredTensor], module: nn.Module, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    found = {}
    try:
        with safe_open(path, framework="pt", device=str(device)) as stored:
            for name, tensor in wanted.items():
                read = stored.get_tensor(tensor.name)
                if tuple(read.shape) != tensor.shape:
                    raise BrokenArtefact(f"{path} changed while it was read. {ADVICE}")
                found[name] = read.to(dtype_of(name, module, dtype))
    except (OSError, SafetensorError) as error:
        raise BrokenArtefact(f"{path} cannot be read as safetensors: {error}. {ADVICE}") from error
    return found

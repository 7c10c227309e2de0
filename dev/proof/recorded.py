"""A model whose clips are stored in the work folder, so that an interrupted section can resume.

A section makes the same requests in the same order each time. Stored clips are read back and only new ones are made;
the call may end before each of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kinema_model.conditions.conditioning import Seam
from kinema_model.config import ModelConfig
from kinema_model.pipeline import Completed, Pipeline
from kinema_world import Video
from stage.slices import Slice, replace_file

Arrays = dict[str, npt.NDArray[Any]]


class Recorded:
    """A `Renderer` over the model in `source`; the same as its pipeline but for what it keeps in `folder`.

    Every method raises `SliceOver` if a clip has to be made and the call's time is used up.
    """

    def __init__(self, source: Path, config: ModelConfig, folder: Path, slice_: Slice, device: str) -> None:
        self.config = config
        self._source, self._folder, self._slice, self._device = source, folder, slice_, device
        self._opened: Pipeline | None = None

    def generate_batch(self, prompts: Sequence[str], seeds: Sequence[int], **how: Any) -> Video:
        """See `Pipeline.generate_batch`."""

        def make() -> Arrays:
            return {"clips": self._pipeline.generate_batch(prompts, seeds, **how)}

        return self._kept(("generate", prompts, seeds, how), make)["clips"]

    def complete(self, *asked: Any, **how: Any) -> Completed:
        """See `Pipeline.complete`."""

        def make() -> Arrays:
            made = self._pipeline.complete(*asked, **how)
            seams = np.array([(one.frame, one.jump, one.usual) for one in made.seams], dtype=np.float64)
            return {"clip": made.video, "seams": seams.reshape(-1, 3)}

        kept = self._kept(("complete", asked, how), make)
        seams = tuple(Seam(int(frame), float(jump), float(usual)) for frame, jump, usual in kept["seams"])
        return Completed(kept["clip"], seams)

    def stream(self, *asked: Any, **how: Any) -> Iterator[Video]:
        """See `Pipeline.stream`; all chunks are made before the first is yielded."""

        def make() -> Arrays:
            chunks = list(self._pipeline.stream(*asked, **how))
            return {"frames": np.concatenate(chunks), "lengths": np.array([len(chunk) for chunk in chunks])}

        kept = self._kept(("stream", asked, how), make)
        yield from np.split(kept["frames"], np.cumsum(kept["lengths"])[:-1])

    @property
    def _pipeline(self) -> Pipeline:
        if self._opened is None:
            self._opened = Pipeline(self._source, device=self._device)
        return self._opened

    def _kept(self, question: Any, make: Callable[[], Arrays]) -> Arrays:
        digest = sha256(self._source.name.encode())
        _tell(digest.update, question)
        file = self._folder / f"{digest.hexdigest()[:32]}.npz"
        if not file.exists():
            self._slice.check()
            made = make()
            replace_file(file, lambda part: _save(part, made))
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def _save(path: Path, made: Arrays) -> None:
    with path.open("wb") as file:
        np.savez(file, **made)  # type: ignore[arg-type]


def _tell(tell: Callable[[bytes], object], value: Any) -> None:
    """An unambiguous encoding of a request, including the bytes of tensors."""
    if isinstance(value, torch.Tensor):
        _tell(tell, (str(value.dtype), tuple(value.shape)))
        tell(value.detach().cpu().contiguous().numpy().tobytes())
    elif is_dataclass(value) and not isinstance(value, type):
        _tell(tell, [(each.name, getattr(value, each.name)) for each in fields(value)])
    elif isinstance(value, Mapping):
        _tell(tell, sorted(value.items()))
    elif isinstance(value, list | tuple):
        tell(f"[{len(value)}".encode())
        for each in value:
            _tell(tell, each)
    else:
        tell(f"{type(value).__name__}:{value!r};".encode())

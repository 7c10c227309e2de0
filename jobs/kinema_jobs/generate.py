"""`python -m kinema_jobs.generate`: one clip from a model on this machine, made as a server makes it.

Prints one JSON object per line: {"event":"loaded"}, {"event":"progress","step","totalSteps"}, and at the end
{"event":"generated","path","sha256",...}, or {"event":"error","message"} with exit code 1, or 2 for a bad request.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
from pydantic.alias_generators import to_camel

from kinema_api import layout
from kinema_api.clip import ClipRequest
from kinema_api.clip_options import clip_options, given_fields
from kinema_api.errors import InvalidManifest
from kinema_api.wire import EncodedPrompt
from kinema_jobs.clip.expansion import ExpansionSettings
from kinema_jobs.clip.inputs import NAMES
from kinema_jobs.clip.loading import open_model
from kinema_jobs.clip.make import InputFiles, MadeClip, Stage, make_clip, resolve
from kinema_jobs.clip.model import ClipModel
from kinema_jobs.clip.rendering import TrainedModel
from kinema_jobs.errors import JobError
from kinema_jobs.model_folder import find_model, sha256_of, verify_folder
from kinema_model.errors import BrokenArtefact, ModelError, ShapeError, TaskError, TextEncoderMissing
from kinema_model.text.weights import bundled_folder

_FAILED: Final = 1
_BAD_REQUEST: Final = 2
_FILE: Final = click.Path(path_type=Path)


def main() -> int:
    """Exit codes: 0 done, 1 no usable model, 2 a request that cannot be rendered."""
    try:
        _generate.main(prog_name="python -m kinema_jobs.generate", standalone_mode=False)
    except click.ClickException as error:
        return _fail(error.format_message(), _BAD_REQUEST)
    except (JobError, BrokenArtefact, TextEncoderMissing, OSError) as error:
        return _fail(str(error), _FAILED)
    except (ModelError, InvalidManifest) as error:
        return _fail(str(error), _BAD_REQUEST)
    return 0


@click.command(help=__doc__)
@click.option("--model", required=True, type=_FILE, help="A model folder, or a folder used as a store.")
@click.option("--prompt", help="What the clip shows.")
@click.option(
    "--words",
    type=click.Choice(["-"]),
    help="-: prompt, negativePrompt and shots come as a JSON object on standard input.",
)
@click.option("--out", required=True, type=_FILE, help="The MP4; the other files go beside it.")
@click.option("--adapter", type=_FILE, help="A file of low-rank adapters of the model.")
@clip_options(_FILE)
def _generate(
    model: Path, prompt: str | None, words: str | None, out: Path, adapter: Path | None, **options: Any
) -> None:
    if (prompt is None) == (words is None):
        raise click.UsageError("give either --prompt, or --words - to write it to standard input")
    said = {"prompt": prompt} if words is None else _hear()
    fields = given_fields(options)
    files = {name: fields.pop(name) for name in NAMES if name in fields}
    request = ClipRequest.parse({to_camel(name): value for name, value in fields.items()} | said)
    bundled_folder()
    _make(model, request, InputFiles(files), out, adapter)


def _hear() -> dict[str, Any]:
    """The prompt from standard input: every user of the machine can read an argv."""
    try:
        words = json.loads(sys.stdin.read())
        return {
            name: words[name] for name in ("prompt", "negativePrompt", "shots") if name == "prompt" or name in words
        }
    except (ValueError, TypeError, KeyError):
        raise ShapeError("Standard input is no JSON object with a prompt: write one, or use --prompt.") from None


class _Lines:
    """Reports progress as lines of JSON."""

    def __init__(self, folder: Path, digest: str | None, started: float) -> None:
        self._model = {"model": str(folder), "digest": digest}
        self._started = started
        self.load_seconds = 0.0

    def stage(self, stage: Stage) -> None:
        if stage == "denoising":
            self.load_seconds = round(time.monotonic() - self._started, 3)
            _say("loaded", **self._model, seconds=self.load_seconds)

    def step(self, done: int, total: int) -> None:
        _say("progress", step=done, totalSteps=total)

    def stopped(self) -> bool:
        return False


def _make(model: Path, request: ClipRequest, inputs: InputFiles, out: Path, adapter: Path | None) -> None:
    started = time.monotonic()
    folder = find_model(model)
    digest = verify_folder(folder)
    loaded = open_model(folder)
    lines = _Lines(folder, digest, started)
    resolved = asyncio.run(resolve(request, loaded, ExpansionSettings.from_environment()))
    about = {"modelDigest": digest} | ({"adapterSha256": sha256_of(adapter)} if adapter else {})
    with tempfile.TemporaryDirectory(prefix="kinema-clip-") as scratch, _adapted(loaded, adapter, digest):
        made = make_clip(loaded, resolved, inputs, Path(scratch), lines, about)
        paths = _move(made.files, out)
    spent = lines.load_seconds + made.denoise_seconds
    timings = {
        "loadSeconds": lines.load_seconds,
        "denoiseSeconds": round(made.denoise_seconds, 3),
        "encodeSeconds": round(time.monotonic() - started - spent, 3),
    }
    _say("generated", **_files(paths), **_clip(made), seed=resolved.seed, timings=timings)


def _adapted(model: ClipModel, adapter: Path | None, digest: str | None) -> AbstractContextManager[None]:
    """Raises `TaskError` for adapters of open weights."""
    if adapter is None:
        return nullcontext()
    if not isinstance(model, TrainedModel):
        raise TaskError("Adapters of open weights cannot be added here. Leave --adapter out.")
    return model.adapted(adapter, digest)


def _move(files: Sequence[Path], out: Path) -> list[Path]:
    """Artefacts beside `out`: red.mp4 has red.thumbnail.webp; video.mp4 has them under their names in a store."""
    prefix = "" if out.name == layout.VIDEO else f"{out.stem}."
    out.parent.mkdir(parents=True, exist_ok=True)
    paths = [out, *(out.with_name(f"{prefix}{path.name}") for path in files[1:])]
    for source, target in zip(files, paths, strict=True):
        shutil.move(source, target)
    return paths


def _files(paths: Sequence[Path]) -> dict[str, Any]:
    named = dict(zip(("path", "thumbnail", "spritesheet", "request"), map(str, paths), strict=True))
    return {**named, "sha256": sha256_of(paths[0]), "bytes": paths[0].stat().st_size}


def _clip(made: MadeClip) -> dict[str, Any]:
    return {
        "seams": [asdict(seam) for seam in made.seams],
        "expandedPrompt": made.expanded_prompt,
        "prompt": _heard(made.heard),
        "warnings": list(made.warnings),
        "size": made.shape.size,
        "seconds": made.shape.seconds,
        "fps": made.shape.fps,
    }


def _heard(heard: EncodedPrompt) -> dict[str, Any]:
    """How the model encoded the prompt, as `status.prompt` of a VideoGeneration."""
    return {**heard.to_wire(), "cut": heard.cut or None}


def _say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def _fail(message: str, code: int) -> int:
    _say("error", message=message)
    return code


if __name__ == "__main__":
    sys.exit(main())

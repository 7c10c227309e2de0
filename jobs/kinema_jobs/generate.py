"""`python -m kinema_jobs.generate`: one clip from a model on this machine, by the same path as a server's.

Prints one JSON object per line: {"event":"loaded"}, {"event":"progress","step","totalSteps"}, and at the end
{"event":"generated","path","sha256",...}, or {"event":"error","message"} with exit code 1, or 2 for a bad request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kinema_api import layout
from kinema_api.errors import InvalidManifest
from kinema_api.generation import Shot, VideoGenerationSpec
from kinema_jobs.clip.expansion import ExpansionSettings, expand_prompt
from kinema_jobs.clip.inputs import NAMES, Work, open_footage
from kinema_jobs.clip.media import write_artefacts
from kinema_jobs.clip.rendering import (
    MAX_SEED,
    ClipRequest,
    check_request,
    clip_shape,
    open_pipeline,
    render,
    request_record,
)
from kinema_jobs.errors import JobError
from kinema_jobs.model_folder import find_model, sha256_of, verify_folder
from kinema_model.conditions.tasks import Task, check_task
from kinema_model.errors import BrokenArtefact, ModelError, ShapeError, TextEncoderMissing
from kinema_model.text.encoder import MAX_TOKENS
from kinema_model.text.reading import Reading
from kinema_model.text.weights import bundled_folder

_FAILED: Final = 1
_BAD_REQUEST: Final = 2
_DEFAULTS: Final = VideoGenerationSpec.model_fields


def main() -> int:
    """Exit codes: 0 done, 1 no usable model, 2 a request that cannot be rendered."""
    arguments = _parser().parse_args()
    try:
        _hear(arguments)
        bundled_folder()
        _generate(arguments, _request(arguments))
    except (JobError, BrokenArtefact, TextEncoderMissing, OSError) as error:
        return _fail(error, _FAILED)
    except ModelError as error:
        return _fail(error, _BAD_REQUEST)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kinema_jobs.generate", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="a model folder, or a folder used as a store")
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--prompt")
    said.add_argument(
        "--words", choices=["-"], help="-: prompt, negative_prompt and shot come as a JSON object on standard input"
    )
    parser.add_argument("--negative-prompt")
    parser.add_argument("--out", required=True, type=Path, help="the MP4; the other artefacts go beside it")
    parser.add_argument("--expand-prompt", action="store_true", help="say a short prompt at length first")
    parser.add_argument("--task", choices=[task.value for task in Task], default=_DEFAULTS["task"].default)
    parser.add_argument("--input", type=Path, help="the clip or picture that the task works on")
    parser.add_argument("--end", type=Path, help="where fill and blend lead to")
    parser.add_argument("--mask", type=Path, help="a picture, white where inpaint makes the clip anew")
    parser.add_argument("--input-seconds", type=float, help="how much of the input an extended clip shows")
    parser.add_argument("--strength", type=float, help="how little of its input an edit or a blend keeps, up to 1")
    parser.add_argument("--shot", action="append", default=[], metavar="SECONDS:PROMPT", help="a shot that follows")
    parser.add_argument("--seconds", type=float, default=_DEFAULTS["seconds"].default)
    parser.add_argument("--size", help="WIDTHxHEIGHT; default: the model's own")
    parser.add_argument("--fps", type=int, help="frames per second; default: the model's own")
    parser.add_argument("--seed", type=int, help="default: chosen, and reported")
    parser.add_argument("--steps", type=int, default=_DEFAULTS["steps"].default)
    parser.add_argument("--guidance-scale", type=float, default=_DEFAULTS["guidance_scale"].default)
    return parser


def _hear(arguments: argparse.Namespace) -> None:
    """Take the words from standard input where that is asked for: an argv can be read by everybody on the machine."""
    if arguments.words is None:
        return
    try:
        words = json.loads(sys.stdin.read())
        arguments.prompt, arguments.negative_prompt = words["prompt"], words.get("negative_prompt")
        arguments.shot = list(words.get("shot") or ())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ShapeError("Standard input is no JSON object with a prompt: write one, or use --prompt.") from None


def _request(arguments: argparse.Namespace) -> ClipRequest:
    return ClipRequest(
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        seconds=arguments.seconds,
        size=arguments.size,
        fps=arguments.fps,
        seed=secrets.randbelow(MAX_SEED + 1) if arguments.seed is None else arguments.seed,
        steps=arguments.steps,
        guidance_scale=arguments.guidance_scale,
        shots=tuple(_shot(said) for said in arguments.shot),
        strength=arguments.strength,
    )


def _shot(said: str) -> Shot:
    seconds, _, prompt = said.partition(":")
    try:
        return Shot.parse({"seconds": seconds, "prompt": prompt})
    except InvalidManifest as error:
        raise ShapeError(f"--shot is SECONDS:PROMPT, such as '2:a red square moves right': {error}") from None


def _generate(arguments: argparse.Namespace, request: ClipRequest) -> None:
    check_request(request)
    if arguments.expand_prompt:
        expanding = expand_prompt(request.prompt, request.seed, ExpansionSettings.from_environment())
        request = replace(request, expansion=asyncio.run(expanding))
    started = time.monotonic()
    folder = find_model(arguments.model)
    digest = verify_folder(folder)
    pipeline = open_pipeline(folder)
    check_task(Task(arguments.task), pipeline.config.tasks)
    files = {name: getattr(arguments, name) for name in NAMES}
    footage = {n: open_footage(n, path, pipeline.config.max_side) for n, path in files.items() if path is not None}
    work = Work(Task(arguments.task), footage, arguments.input_seconds)
    work.check()
    shape = clip_shape(pipeline.config, request, work.task, work.size)
    loaded = time.monotonic()
    _say("loaded", model=str(folder), digest=digest, seconds=round(loaded - started, 3))

    def on_step(done: int, total: int) -> None:
        _say("progress", step=done, totalSteps=total)

    rendered = render(pipeline, request, work, shape, on_step, _never)
    denoised = time.monotonic()
    record = request_record(request, work, shape, rendered, digest)
    paths = _write(arguments.out, rendered.video, shape.fps, record)
    _say(
        "generated",
        path=str(paths[0]),
        thumbnail=str(paths[1]),
        spritesheet=str(paths[2]),
        request=str(paths[3]),
        sha256=sha256_of(paths[0]),
        bytes=paths[0].stat().st_size,
        seed=request.seed,
        seams=record["seams"],
        expandedPrompt=record["expandedPrompt"],
        prompt=_heard(pipeline.reading([request.heard, *(shot.prompt for shot in request.shots)])),
        size=shape.size,
        seconds=shape.seconds,
        fps=shape.fps,
        timings={
            "loadSeconds": round(loaded - started, 3),
            "denoiseSeconds": round(denoised - loaded, 3),
            "encodeSeconds": round(time.monotonic() - denoised, 3),
        },
    )


def _heard(reading: Reading) -> dict[str, Any]:
    """What became of the words, as `status.prompt` of a VideoGeneration says it."""
    return {
        "tokens": reading.tokens,
        "limit": MAX_TOKENS,
        "cut": reading.cut or None,
        "unseenWords": list(reading.unseen),
    }


def _write(out: Path, video: Any, fps: float, record: dict[str, Any]) -> list[Path]:
    """Artefacts beside `out`: red.mp4 has red.thumbnail.webp; video.mp4 has them under their names in a store."""
    prefix = "" if out.name == layout.VIDEO else f"{out.stem}."
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kinema-clip-") as folder:
        made = write_artefacts(video, fps, Path(folder), record)
        paths = [out, *(out.with_name(f"{prefix}{path.name}") for path in made[1:])]
        for source, target in zip(made, paths, strict=True):
            shutil.move(source, target)
    return paths


def _never() -> bool:
    return False


def _say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def _fail(error: Exception, code: int) -> int:
    _say("error", message=str(error))
    return code


if __name__ == "__main__":
    sys.exit(main())

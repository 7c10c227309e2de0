"""Makes the files of a request: the steps and errors that a server and the local command share.

They differ in the source of the model and the inputs, the destination of the files, and how progress is reported.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from kinema_api.clip import MAX_SEED, ClipRequest
from kinema_api.inputs import Region
from kinema_api.wire import EncodedPrompt
from kinema_jobs.clip.expansion import ExpansionSettings, expand_prompt
from kinema_jobs.clip.inputs import Name, Work, open_input
from kinema_jobs.clip.media import write_artefacts
from kinema_jobs.clip.rendering import OutputShape, ResolvedRequest, output_shape, render, request_record
from kinema_model.conditions.conditioning import Seam
from kinema_model.conditions.tasks import Task, check_task
from kinema_model.config import ModelConfig
from kinema_model.pipeline import Pipeline
from kinema_model.text.encoder import MAX_TOKENS

Stage = Literal["denoising", "encoding"]


class Watch(Protocol):
    """Follows a clip and may stop it. Called in the thread that makes the clip."""

    def stage(self, stage: Stage) -> None:
        """A stage begins; inputs are read before the first stage."""

    def step(self, done: int, total: int) -> None:
        """So many of all denoising steps are done."""

    def stopped(self) -> bool:
        """Whether the request was stopped."""


@dataclass(frozen=True)
class InputFiles:
    """The inputs of a clip as files on this machine, and the box in pixels that is generated anew."""

    files: Mapping[Name, Path] = field(default_factory=dict)
    region: Region | None = None


@dataclass(frozen=True)
class MadeClip:
    """The files of a clip, the video first as kinema_jobs.clip.media writes them, and what is to be reported of it."""

    files: tuple[Path, ...]
    shape: OutputShape
    seams: tuple[Seam, ...]
    expanded_prompt: str | None
    heard: EncodedPrompt
    denoise_seconds: float
    encode_seconds: float


async def resolve(request: ClipRequest, config: ModelConfig, expanding: ExpansionSettings) -> ResolvedRequest:
    """Choose the seed if the request has none, and expand its prompt if requested.

    Raises `TaskError` for a task that the model was not trained for.
    """
    check_task(Task(request.task), config.tasks)
    seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
    expansion = await expand_prompt(request.prompt, seed, expanding) if request.expand_prompt else None
    return ResolvedRequest(request, seed, expansion)


def make_clip(
    pipeline: Pipeline,
    request: ResolvedRequest,
    inputs: InputFiles,
    folder: Path,
    watch: Watch,
    about: Mapping[str, Any],
) -> MadeClip:
    """Read the inputs, denoise, and write the files of the clip into `folder`. Blocks.

    `about` is added to request.json. Raises what `render` and `open_input` do.
    """
    clip = request.clip
    largest = pipeline.config.max_side
    clips = {name: open_input(name, path, largest, watch.stopped) for name, path in inputs.files.items()}
    work = Work(Task(clip.task), clips, clip.input_seconds, inputs.region)
    work.check()
    shape = output_shape(pipeline.config, clip, work.task, work.size)
    watch.stage("denoising")
    started = time.monotonic()
    rendered = render(pipeline, request, work, shape, watch.step, watch.stopped)
    denoised = time.monotonic()
    watch.stage("encoding")
    heard = _heard(pipeline, request)
    record = {**request_record(request, work, shape, rendered), **about}
    files = write_artefacts(rendered.video, shape.fps, folder, record)
    expanded = request.expansion.rich if request.expansion else None
    seconds = (denoised - started, time.monotonic() - denoised)
    return MadeClip(tuple(files), shape, rendered.seams, expanded, heard, *seconds)


def _heard(pipeline: Pipeline, request: ResolvedRequest) -> EncodedPrompt:
    reading = pipeline.reading([request.heard, *(shot.prompt for shot in request.clip.shots)])
    return EncodedPrompt(tokens=reading.tokens, limit=MAX_TOKENS, cut=reading.cut, unseen_words=reading.unseen)

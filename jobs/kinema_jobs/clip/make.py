"""Makes the files of a request: the steps and errors that a server and the local command share.

They differ in the source of the model and the inputs, the destination of the files, and how progress is reported.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from kinema_api.clip import MAX_SEED, ClipRequest
from kinema_api.inputs import Region
from kinema_api.wire import EncodedPrompt
from kinema_jobs.clip.expansion import ExpansionSettings, expand_prompt
from kinema_jobs.clip.inputs import Name, Work, open_input
from kinema_jobs.clip.media import write_artefacts
from kinema_jobs.clip.model import ClipModel, Defaults, OutputShape, Rendered, ResolvedRequest
from kinema_jobs.model_folder import sha256_of
from kinema_model.conditions.conditioning import Seam
from kinema_model.conditions.tasks import Task
from kinema_model.errors import TaskError

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
    warnings: tuple[str, ...]
    denoise_seconds: float
    encode_seconds: float


async def resolve(request: ClipRequest, model: ClipModel, expanding: ExpansionSettings) -> ResolvedRequest:
    """Fill in what the request leaves to the model, choose a seed if it has none, and expand its prompt if requested.

    Raises `TaskError` for a task that the model was not trained for, and for an expansion that nothing can write.
    """
    model.check(request)
    if request.expand_prompt and expanding.url is None and not model.has_expansion_rules:
        raise TaskError(
            "The prompts of open weights are expanded by a language model, and none is configured. Remove "
            "expandPrompt, or ask an administrator for one (expansion in the chart's values)."
        )
    seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
    expansion = None
    if request.expand_prompt:
        expansion = await expand_prompt(request.prompt, seed, expanding, by_rules=model.has_expansion_rules)
    steps = model.defaults.steps if request.steps is None else request.steps
    return ResolvedRequest(request, seed, steps, *_guidance(request, model.defaults), expansion)


def _guidance(request: ClipRequest, usual: Defaults) -> tuple[float, float | None]:
    """Guidance of the first network, and of the second if it has another."""
    if request.guidance_scale is None:
        second = usual.guidance_scale_2 if request.guidance_scale_2 is None else request.guidance_scale_2
        return usual.guidance_scale, second
    return request.guidance_scale, request.guidance_scale_2


def make_clip(
    model: ClipModel,
    request: ResolvedRequest,
    inputs: InputFiles,
    folder: Path,
    watch: Watch,
    about: Mapping[str, Any],
) -> MadeClip:
    """Read the inputs, denoise, and write the files of the clip into `folder`. Blocks.

    `about` is added to request.json. Raises what `ClipModel.render` and `open_input` do.
    """
    clip = request.clip
    clips = {name: open_input(name, path, model.largest_input, watch.stopped) for name, path in inputs.files.items()}
    work = Work(Task(clip.task), clips, clip.input_seconds, inputs.region)
    work.check()
    shape = model.output_shape(clip, work.task, work.size)
    watch.stage("denoising")
    started = time.monotonic()
    rendered = model.render(request, work, shape, watch.step, watch.stopped)
    denoised = time.monotonic()
    watch.stage("encoding")
    heard = model.encoded([request.heard, *(shot.prompt for shot in clip.shots)])
    warnings = model.warnings(shape)
    record = {**request_record(request, work, shape, rendered), **about}
    files = write_artefacts(rendered.video, shape.fps, folder, record)
    expanded = request.expansion.rich if request.expansion else None
    seconds = (denoised - started, time.monotonic() - denoised)
    return MadeClip(tuple(files), shape, rendered.seams, expanded, heard, warnings, *seconds)


def request_record(request: ResolvedRequest, work: Work, shape: OutputShape, rendered: Rendered) -> dict[str, Any]:
    """Content of request.json: all that is needed to make the same clip again with the same model."""
    return {
        "task": work.task.value,
        "inputs": {name: sha256_of(clip.path) for name, clip in work.clips.items()},
        "inputSeconds": work.input_seconds,
        "maskRegion": work.region.to_wire() if work.region else None,
        "strength": request.clip.strength,
        "shots": [shot.to_wire() for shot in request.clip.shots],
        "seams": [asdict(seam) for seam in rendered.seams],
        "prompt": request.clip.prompt,
        "expandedPrompt": request.expansion.rich if request.expansion else None,
        "expansion": request.expansion.how if request.expansion else None,
        "negativePrompt": request.clip.negative_prompt,
        "seed": request.seed,
        "steps": request.steps,
        "guidanceScale": request.guidance_scale,
        **({} if request.guidance_scale_2 is None else {"guidanceScale2": request.guidance_scale_2}),
        "frames": shape.frames,
        "fps": shape.fps,
        "seconds": shape.seconds,
        "size": shape.size,
    }

"""`kinema generate`: renders a prompt and saves the clip as an MP4."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic.alias_generators import to_camel

from kinema_api import generation
from kinema_api.clip_options import WORDS, clip_options, given_fields
from kinema_api.errors import InvalidManifest
from kinema_api.generation import VideoGenerationSpec
from kinema_api.names import API_VERSION, MAX_NAME_LENGTH
from kinema_cli.download import fetch_file
from kinema_cli.errors import EXIT_CODES_HELP, BadManifest, ClusterUnreachable, CommandError, Refused, Unanswered
from kinema_cli.follow import reason, until_ended
from kinema_cli.jobs import Job
from kinema_cli.links import LinkOptions, with_links
from kinema_cli.options import ClusterOptions, with_cluster, with_output
from kinema_cli.output import Follower, Output, printable
from kinema_cli.upload import FIELDS, described, is_file, upload

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster


ENDED: Final = ("Succeeded", "Failed", "Cancelled")
_SUFFIX_BYTES: Final = 3
_REFUSALS: Final = ("Refused", "RenderingFailed")
"""Reasons of a failure that the request itself caused, except those of its inputs."""
Made = Callable[[], tuple[dict[str, Any], str]]
"""Renders a clip, or waits for it; returns the result as JSON and as text."""


@click.command(epilog=EXIT_CODES_HELP)
@click.argument("prompt", required=False)
@click.option("--prompts", "prompt_file", help="Render one clip for each line of this file, - for standard input.")
@click.option("--model", help="VideoModel that renders the clip.")
@click.option(
    "--local", "local", type=click.Path(path_type=Path), help="Render on this machine from this model folder."
)
@click.option("--adapter", type=click.Path(dir_okay=False), help="With --local: a file of adapters of the model.")
@clip_options(click.STRING, "FILE|NAME|s3://BUCKET/KEY")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Output file (MP4); default: NAME.mp4.")
@click.option("--name", help="Name of the VideoGeneration; default: derived from the model's.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Most seconds to wait; the request itself continues.")
@with_links
@with_cluster
@with_output
def generate(
    prompt: str | None,
    prompt_file: str | None,
    model: str | None,
    local: Path | None,
    adapter: str | None,
    out: Path | None,
    name: str | None,
    timeout: float | None,
    asking: LinkOptions,
    where: ClusterOptions,
    output: Output,
    **options: Any,
) -> None:
    """Render PROMPT with a served model (--model) or on this machine (--local), and save the MP4.

    PROMPT may be - for standard input. With --prompts one clip is made for each line of a file; --name and --out then
    name the first part of each: NAME-1, NAME-2, ...
    """
    if (model is None) == (local is None):
        raise click.UsageError(
            "pass either --model NAME, to render in the cluster, or --local FOLDER, to render on this machine"
        )
    if adapter is not None and local is None:
        raise click.UsageError("--adapter goes with --local FOLDER alone")
    prompts, fields = _prompts(prompt, prompt_file), given_fields(options)
    several = prompt_file is not None
    if local is not None:
        paths = _paths(out or Path("clip.mp4"), len(prompts), several)
        model_args = [f"--model={local}", *([f"--adapter={adapter}"] if adapter else [])]
        made: list[Made] = [
            partial(_generate_here, text, model_args, path, fields, output)
            for text, path in zip(prompts, paths, strict=True)
        ]
    else:
        assert model is not None
        stem = name or clip_name(model)
        names = [f"{stem}-{n}" for n in range(1, len(prompts) + 1)] if several else [stem]
        bodies = [manifest(text, model, resource, fields) for text, resource in zip(prompts, names, strict=True)]
        cluster = where.connect()
        _create_all(cluster, bodies, fields, asking)
        outs = _paths(out, len(prompts), several) if out else [None] * len(prompts)
        made = [
            partial(_wait, cluster, body["metadata"]["name"], path, timeout, asking, output)
            for body, path in zip(bodies, outs, strict=True)
        ]
    _conclude(made, output, several=several)


def _paths(out: Path, count: int, several: bool) -> list[Path]:
    """A path for each clip."""
    return [_numbered(out, n) for n in range(1, count + 1)] if several else [out]


def _create_all(cluster: Cluster, bodies: list[dict[str, Any]], fields: dict[str, Any], asking: LinkOptions) -> None:
    """Create the resources and upload the files that each of them waits for."""
    files: dict[str, Path] = {
        field: Path(fields[field]) for field in FIELDS if field in fields and is_file(fields[field])
    }
    for body in bodies:
        _create(cluster, body)
        upload(cluster, body, files, asking)


def _wait(
    cluster: Cluster, name: str, out: Path | None, timeout: float | None, asking: LinkOptions, output: Output
) -> tuple[dict[str, Any], str]:
    """Wait for a clip to end and download it."""
    with output.progress() as follower:
        done = until_ended(cluster, generation.PLURAL, name, _ended, _show, follower, timeout)
    return _deliver(cluster, done, out, asking, output)


def _prompts(prompt: str | None, file: str | None) -> list[str]:
    """The prompts to render. Raises `BadManifest` for a file that is unreadable or has no prompt."""
    if (prompt is None) == (file is None):
        raise click.UsageError(
            "pass a PROMPT, - to read it from standard input, or --prompts FILE with one prompt per line"
        )
    if file is None:
        return [sys.stdin.read().strip() if prompt == "-" else str(prompt)]
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise BadManifest(f"{file} cannot be read ({why}); pass a file with one prompt per line") from None
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise BadManifest(f"{file} has no prompt; write one per line")
    return found


def _numbered(out: Path, number: int) -> Path:
    return out.with_name(f"{out.stem}-{number}{out.suffix or '.mp4'}")


def _create(cluster: Cluster, body: dict[str, Any]) -> None:
    """Create a VideoGeneration. Raises `Unanswered`, with the name to check, if no response came: it may exist."""
    try:
        cluster.create(generation.PLURAL, body)
    except Unanswered as error:
        name = body["metadata"]["name"]
        raise Unanswered(
            f"{error}. Whether {name} was created is not known: see `kinema get generations {name}` before you retry"
        ) from None


def _conclude(made: list[Made], output: Output, *, several: bool) -> None:
    """Print the results. Raises the error of a single clip, or one error for several that failed."""
    if not several:
        output.result(*made[0]())
        return
    documents: list[dict[str, Any]] = []
    failures: list[CommandError] = []
    for one in made:
        try:
            document, text = one()
        except CommandError as error:
            failures.append(error)
            documents.append({"error": str(error), "exitCode": error.exit_code})
            output.note(f"error: {error}")
        else:
            documents.append(document)
            if not output.as_json:
                output.result(document, text)
    if output.as_json:
        output.result(documents)
    if failures:
        worst = max(failures, key=lambda error: error.exit_code)
        raise _Several(f"{len(failures)} of {len(made)} clips were not made, the first: {failures[0]}", worst.exit_code)


class _Several(CommandError):
    """Some of several clips failed; the exit code is the highest of theirs."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def clip_name(model: str) -> str:
    """A unique name for a generation of the model."""
    suffix = secrets.token_hex(_SUFFIX_BYTES)
    return f"{model[: MAX_NAME_LENGTH - len(suffix) - 1]}-{suffix}"


def manifest(prompt: str, model: str, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The VideoGeneration; `fields` of the clip by their Python names. Raises `BadManifest`."""
    spec_fields = {to_camel(field): value for field, value in fields.items()}
    spec_fields |= {field: _clip_input(fields[field]) for field in ("input", "end") if field in fields}
    if "mask" in spec_fields:
        spec_fields["mask"] = (
            {"upload": described(Path(spec_fields["mask"]))}
            if is_file(spec_fields["mask"])
            else {"uri": spec_fields["mask"]}
        )
    try:
        spec = VideoGenerationSpec.parse({"prompt": prompt, "modelRef": {"name": model}, **spec_fields})
    except InvalidManifest as error:
        raise BadManifest(str(error)) from None
    return {
        "apiVersion": API_VERSION,
        "kind": generation.KIND,
        "metadata": {"name": name},
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }


def _clip_input(named: str) -> dict[str, Any]:
    if is_file(named):
        return {"upload": described(Path(named))}
    return {"uri": named} if "://" in named else {"generation": named}


def _ended(found: dict[str, Any]) -> bool:
    return found.get("status", {}).get("phase") in ENDED


def _show(found: dict[str, Any], follower: Follower) -> None:
    status = found.get("status", {})
    phase, progress = status.get("phase", "Pending"), status.get("progress") or {}
    parts = [phase]
    if phase == "Pending":
        if status.get("queuePosition") is not None:
            parts.append(f"{status['queuePosition']} ahead in the queue")
        if why := reason(status):
            parts.append(why)
    done, total = progress.get("step"), progress.get("totalSteps") or None
    if phase == "Running" and progress.get("stage") == "loading":
        parts.append("the server loads the model")
        done, total = progress.get("loadedPercent"), 100
    follower.show(", ".join(parts), done, total)


def _deliver(
    cluster: Cluster, done: dict[str, Any], out: Path | None, asking: LinkOptions, output: Output
) -> tuple[dict[str, Any], str]:
    name, status = done["metadata"]["name"], done["status"]
    if status["phase"] != "Succeeded":
        said = reason(status) or f"see `kinema get generations {name}`"
        kind = Refused if _refused(status) else CommandError
        raise kind(f"{name} {status['phase'].lower()}: {said}")
    video = status["video"]
    path = out or Path(f"{name}.mp4")
    try:
        fetch_file(cluster, done, "video", path, asking)
    except ClusterUnreachable as error:
        raise type(error)(f"{error}. The clip is complete: download it later with `kinema download {name}`") from None
    _tell(status.get("prompt"), status.get("warnings"), output)
    return (
        {
            "name": name,
            "namespace": cluster.namespace,
            "path": str(path),
            **{key: video.get(key) for key in ("uri", "sha256", "bytes", "seconds", "size", "fps")},
            "seed": status.get("seed"),
            "seams": status.get("seams", []),
            "expandedPrompt": status.get("expandedPrompt"),
            "prompt": status.get("prompt"),
            "warnings": status.get("warnings", []),
            "modelDigest": status.get("modelDigest"),
            "timings": status.get("timings"),
        },
        str(path),
    )


def _refused(status: dict[str, Any]) -> bool:
    """Whether the request itself is invalid, so that repeating it cannot succeed."""
    reasons = [c.get("reason", "") for c in status.get("conditions", []) if c.get("type") == "Failed"]
    return any(reason in _REFUSALS or reason.startswith("Input") for reason in reasons)


def _tell(heard: dict[str, Any] | None, warnings: list[str] | None, output: Output) -> None:
    """Print which parts of the prompt the model ignored, and what may make the clip worse."""
    for warning in warnings or ():
        output.note(printable(f"note: {warning}"))
    if heard and heard.get("cut"):
        output.note(
            f"note: the prompt is longer than {heard.get('limit')} tokens; the model ignored its end: {heard['cut']!r}"
        )
    if heard and heard.get("unseenWords"):
        words = ", ".join(heard["unseenWords"])
        output.note(f"note: these words did not occur in training; the model ignored them: {words}")


def _argument(key: str, value: Any) -> str:
    flag = f"--{key.replace('_', '-')}"
    return flag if value is True else f"{flag}={value}"


def _generate_here(
    prompt: str, model: list[str], out: Path, fields: dict[str, Any], output: Output
) -> tuple[dict[str, Any], str]:
    said = {to_camel(name): fields[name] for name in WORDS if name in fields}
    words = {"prompt": prompt, **said, "shots": [shot.to_wire() for shot in fields.get("shots", ())]}
    arguments = [*model, "--words=-", f"--out={out}"]
    arguments += [_argument(name, value) for name, value in fields.items() if name not in WORDS]
    generated: dict[str, Any] = {}
    with output.progress() as follower:
        follower.show("Loading")
        for event in Job("kinema_jobs.generate", arguments, words).events():
            if event["event"] == "progress":
                follower.show("Denoising", event["step"], event["totalSteps"])
            elif event["event"] == "generated":
                generated = {key: value for key, value in event.items() if key != "event"}
    _tell(generated.get("prompt"), generated.get("warnings"), output)
    return generated, str(generated.get("path"))

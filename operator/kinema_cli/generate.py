"""`kinema generate`: from a sentence to an MP4 on disk."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click
from pydantic.alias_generators import to_camel

from kinema_api import generation
from kinema_api.errors import InvalidManifest
from kinema_api.generation import VideoGenerationSpec
from kinema_api.inputs import TaskName
from kinema_api.names import API_VERSION, MAX_NAME_LENGTH
from kinema_cli.download import fetch
from kinema_cli.errors import EXIT_CODES_HELP, BadManifest, CommandError
from kinema_cli.follow import reason, until_ended
from kinema_cli.jobs import Job
from kinema_cli.options import ClusterOptions, with_cluster, with_output
from kinema_cli.output import Follower, Output

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster

ENDED: Final = ("Succeeded", "Failed", "Cancelled")
_SUFFIX_BYTES: Final = 3


@click.command(epilog=EXIT_CODES_HELP)
@click.argument("prompt")
@click.option("--model", help="VideoModel that renders the clip.")
@click.option("--local", "local", type=click.Path(path_type=Path), help="Render here from this model folder instead.")
@click.option("--expand-prompt", is_flag=True, default=None, help="Say a short prompt at length first.")
@click.option("--task", type=click.Choice(get_args(TaskName)), help="What is made.  [default: text]")
@click.option("--input", help="What the task works on: a VideoGeneration or s3://BUCKET/KEY; with --local a file.")
@click.option("--end", help="Where fill and blend lead to, named like --input.")
@click.option(
    "--mask", help="A picture, white where inpaint makes the clip anew: s3://BUCKET/KEY; with --local a file."
)
@click.option("--input-seconds", type=float, help="How much of the input an extended clip shows.  [default: half]")
@click.option("--strength", type=float, help="How little an edit or a blend keeps of its input, up to 1.")
@click.option("--shot", multiple=True, metavar="SECONDS:PROMPT", help="A shot that follows the first; repeatable.")
@click.option("--seconds", type=float, help="Length of the clip.  [default: 1]")
@click.option("--size", help="WIDTHxHEIGHT in pixels; default: the model's own.")
@click.option("--fps", type=int, help="Frames per second, as the model was trained; default: the model's own.")
@click.option("--seed", type=int, help="The same seed gives the same clip; default: chosen, and reported.")
@click.option("--steps", type=int, help="Denoising steps.  [default: 24]")
@click.option("--guidance-scale", type=float, help="How closely the clip follows the prompt.  [default: 3]")
@click.option("--negative-prompt", help="What the clip should not show.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The MP4; default: NAME.mp4.")
@click.option("--name", help="Name of the VideoGeneration; default: made from the model's.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most; the request itself goes on.")
@with_cluster
@with_output
def generate(
    prompt: str,
    model: str | None,
    local: Path | None,
    out: Path | None,
    name: str | None,
    timeout: float | None,
    where: ClusterOptions,
    output: Output,
    **fields: Any,
) -> None:
    """Render PROMPT with a served model (--model) or on this machine (--local), and save the MP4."""
    if (model is None) == (local is None):
        raise click.UsageError("give either --model NAME, to render in the cluster, or --local FOLDER, to render here")
    if local is not None:
        _generate_here(prompt, local, out or Path("clip.mp4"), fields, output)
        return
    assert model is not None
    body = manifest(prompt, model, name or clip_name(model), fields)
    cluster = where.connect()
    cluster.create(generation.PLURAL, body)
    with output.progress() as follower:
        done = until_ended(cluster, generation.PLURAL, body["metadata"]["name"], _ended, _show, follower, timeout)
    _deliver(cluster, done, out, output)


def clip_name(model: str) -> str:
    """A name that no other clip of the model has."""
    suffix = secrets.token_hex(_SUFFIX_BYTES)
    return f"{model[: MAX_NAME_LENGTH - len(suffix) - 1]}-{suffix}"


def manifest(prompt: str, model: str, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The VideoGeneration; `fields` by their Python names, None where not given. Raises `BadManifest`."""
    given = {to_camel(field): value for field, value in fields.items() if value is not None}
    given |= {name: _clip_input(given[name]) for name in ("input", "end") if name in given}
    shots = given.pop("shot", ())
    if shots:
        given["shots"] = [
            {"seconds": seconds, "prompt": said} for seconds, _, said in (s.partition(":") for s in shots)
        ]
    if "mask" in given:
        given["mask"] = {"uri": given["mask"]}
    try:
        spec = VideoGenerationSpec.parse({"prompt": prompt, "modelRef": {"name": model}, **given})
    except InvalidManifest as error:
        raise BadManifest(str(error)) from None
    return {
        "apiVersion": API_VERSION,
        "kind": generation.KIND,
        "metadata": {"name": name},
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }


def _clip_input(named: str) -> dict[str, str]:
    return {"uri": named} if "://" in named else {"generation": named}


def _ended(found: dict[str, Any]) -> bool:
    return found.get("status", {}).get("phase") in ENDED


def _show(found: dict[str, Any], follower: Follower) -> None:
    status = found.get("status", {})
    phase, progress = status.get("phase", "Pending"), status.get("progress") or {}
    parts = [phase]
    if phase == "Pending":
        if status.get("queuePosition") is not None:
            parts.append(f"{status['queuePosition']} before it")
        if why := reason(status):
            parts.append(why)
    follower.show(", ".join(parts), progress.get("step"), progress.get("totalSteps") or None)


def _deliver(cluster: Cluster, done: dict[str, Any], out: Path | None, output: Output) -> None:
    name, status = done["metadata"]["name"], done["status"]
    if status["phase"] != "Succeeded":
        said = reason(status) or f"see `kinema get generations {name}`"
        raise CommandError(f"{name} {status['phase'].lower()}: {said}")
    video = status["video"]
    if not video.get("url"):
        raise CommandError(f"{name}: no address to download from; copy it from {video['uri']}")
    path = out or Path(f"{name}.mp4")
    fetch(video["url"], path, video["sha256"])
    output.result(
        {
            "name": name,
            "namespace": cluster.namespace,
            "path": str(path),
            **{key: video.get(key) for key in ("uri", "sha256", "bytes", "seconds", "size", "fps")},
            "seed": status.get("seed"),
            "seams": status.get("seams", []),
            "expandedPrompt": status.get("expandedPrompt"),
            "modelDigest": status.get("modelDigest"),
            "timings": status.get("timings"),
        },
        str(path),
    )


def _argument(key: str, value: Any) -> str:
    name = f"--{key.replace('_', '-')}"
    return name if value is True else f"{name}={value}"


def _generate_here(prompt: str, model: Path, out: Path, fields: dict[str, Any], output: Output) -> None:
    # With "=", so that a prompt that starts with a dash stays a prompt.
    arguments = [f"--model={model}", f"--prompt={prompt}", f"--out={out}"]
    arguments += [f"--shot={shot}" for shot in fields.pop("shot", ())]
    arguments += [_argument(key, value) for key, value in fields.items() if value is not None]
    generated: dict[str, Any] = {}
    with output.progress() as follower:
        follower.show("Loading")
        for event in Job("kinema_jobs.generate", arguments).events():
            if event["event"] == "progress":
                follower.show("Denoising", event["step"], event["totalSteps"])
            elif event["event"] == "generated":
                generated = {key: value for key, value in event.items() if key != "event"}
    output.result(generated, str(generated.get("path")))

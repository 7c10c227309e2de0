"""`kinema prepare --local`: makes a dataset of a folder of videos on this machine, as a training does of a prefix."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from pydantic import ValidationError

from kinema_api.prepare import ClipTarget, PrepareConfig
from kinema_api.recorded import ClipFilters
from kinema_cli.errors import EXIT_CODES_HELP, BadManifest
from kinema_cli.jobs import Job
from kinema_cli.options import with_output
from kinema_cli.output import Output

STAGES: Final = {
    "listing": "Listing",
    "preparing": "Preparing",
    "joining": "Looking for near-duplicates",
    "done": "Done",
}
_LOCAL: Final = "local"


def _numbers(count: int) -> Any:
    """Parses so many positive integers with an x between them."""

    def parse(_context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
        parts = value.lower().split("x")
        if len(parts) != count or not all(part.isdigit() and int(part) > 0 for part in parts):
            raise click.BadParameter(f"{value!r} is not {count} positive numbers with x between them", param=option)
        return tuple(map(int, parts))

    return parse


@click.command(epilog=EXIT_CODES_HELP)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--local", is_flag=True, help="Prepare on this machine; a training prepares its own clips in a cluster.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dataset"),
    show_default=True,
    help="Folder for datasets and the report; what is there already is used again.",
)
@click.option("--frames", type=click.IntRange(1, 2000), default=64, show_default=True, help="Most frames of a clip.")
@click.option(
    "--size",
    callback=_numbers(2),
    default="320x192",
    show_default=True,
    metavar="WxH",
    help="Area of a frame; clips keep their own aspect ratio.",
)
@click.option("--fps", type=click.FloatRange(0.1, 120), default=16, show_default=True, help="Most frames per second.")
@click.option(
    "--cell",
    callback=_numbers(3),
    default="4x16x16",
    show_default=True,
    metavar="FRAMESxROWSxCOLUMNS",
    help="What lengths and sides are multiples of.",
)
@click.option(
    "--filter", "filters", multiple=True, metavar="NAME=VALUE", help="A threshold, as in filters; repeatable."
)
@click.option("--captioner", metavar="URL", help="OpenAI-compatible API that captions clips without a caption.")
@click.option("--captioner-model", help="Name of the model there.")
@with_output
def prepare(
    folder: Path,
    local: bool,
    out: Path,
    frames: int,
    size: tuple[int, int],
    fps: float,
    cell: tuple[int, int, int],
    filters: tuple[str, ...],
    captioner: str | None,
    captioner_model: str | None,
    output: Output,
) -> None:
    """Prepare the videos in FOLDER for training: cut into shots, scored, filtered, captioned, without near-duplicates.

    Captions lie beside the videos as NAME.txt or NAME.json, or in metadata.csv or metadata.jsonl. The captioner's key
    is read from the file that KINEMA_CAPTIONER_KEY_FILE names.
    """
    if not local:
        raise click.UsageError(
            "add --local to prepare on this machine; a training with data.videos prepares in a cluster"
        )
    target = ClipTarget(frames=frames, pixels=size[0] * size[1], fps=fps, cell=cell)
    config = _config(folder, target, filters, captioner, captioner_model)
    told: dict[str, Any] = {}
    arguments = [f"--folder={folder}", f"--out={out}", f"--config={config.model_dump_json(by_alias=True)}"]
    with output.progress() as follower:
        follower.show("Starting")
        for event in Job("kinema_jobs.prepare.local", arguments).events():
            if event.get("event") == "progress":
                follower.show(STAGES.get(event["stage"], event["stage"]), event["done"], event["total"] or None)
            elif event.get("event") == "prepared":
                told = {key: value for key, value in event.items() if key != "event"}
    output.table(told, ["outcome", "count"], _rows(told))
    output.note(f"{told['folder']}\n{told['report']}")


def _rows(told: dict[str, Any]) -> list[list[str]]:
    dropped = sorted(told["dropped"].items(), key=lambda entry: (-entry[1], entry[0]))
    kept = f"kept ({told['seconds']:.1f} s from {told['inputs']} files)"
    return [[kept, str(told["samples"])], *([name, str(count)] for name, count in dropped if count)]


def _config(
    folder: Path, target: ClipTarget, filters: tuple[str, ...], captioner: str | None, model: str | None
) -> PrepareConfig:
    """Raises BadManifest, which names the option."""
    thresholds = dict(one.partition("=")[::2] for one in filters)
    known = [field.alias or name for name, field in ClipFilters.model_fields.items()]
    if unknown := sorted(set(thresholds) - set(known)):
        raise BadManifest(f"--filter: there is no {unknown[0]!r}; name one of {', '.join(known)}")
    captions = {} if captioner is None else {"endpoint": {"url": captioner, "model": model or ""}}
    clips = {"uri": f"s3://{_LOCAL}/{quote(folder.resolve().name) or _LOCAL}/", "captions": captions}
    try:
        return PrepareConfig.model_validate(
            {
                "namespace": _LOCAL,
                "name": folder.resolve().name or _LOCAL,
                "uid": _LOCAL,
                "run": 1,
                "videos": [{**clips, "filters": thresholds}],
                "target": target,
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = [str(part) for part in first["loc"] if part not in ("videos", 0)]
        option = {"filters": "--filter", "captions": "--captioner"}.get(at[0] if at else "", "FOLDER")
        raise BadManifest(f"{option}: {'.'.join(at)}: {first['msg']}; correct it") from None

"""`kinema inspect`: what a file is: signed and intact, signed but changed, stripped but watermarked, or unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from kinema_api.inspection import MEANINGS, Verdict
from kinema_cli.jobs import Job
from kinema_cli.options import with_output
from kinema_cli.output import Output, printable

EXIT_CODES: Final[dict[Verdict, int]] = {
    "signed": 0,
    "untrusted": 10,
    "changed": 11,
    "watermarked": 12,
    "unknown": 13,
}
"""Apart from those of `kinema_cli.errors`: a pipeline tells a file that is not signed from one that cannot be read."""
_HELP: Final = (
    "Exit codes: "
    + ", ".join(f"{code} {verdict}" for verdict, code in EXIT_CODES.items())
    + ("; 1 failed, 2 the file, the keys or the anchors cannot be read.")
)
_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
_SHOWN: Final = (
    ("signer", "signer"),
    ("made by AI", "made_by_ai"),
    ("model", "model_digest"),
    ("made at", "made_at"),
    ("software", "agent"),
    ("prompt", "prompt"),
)


@click.command(epilog=_HELP)
@click.argument("file", type=_FILE)
@click.option(
    "--keys",
    type=_FILE,
    envvar="KINEMA_WATERMARK_KEYS_FILE",
    help="JSON with the keys of watermarks, the newest first; without it none is looked for.",
)
@click.option("--anchors", type=_FILE, help="PEM with the certificates whose signers you trust.")
@with_output
@click.pass_context
def inspect(context: click.Context, file: Path, keys: Path | None, anchors: Path | None, output: Output) -> None:
    """Say where FILE is from: an MP4, WebM, PNG, JPEG, WebP or AVIF of unknown origin.

    Its provenance (C2PA) is read and verified. A watermark is looked for in clips, if keys are given: it outlives
    encoders, scaling and crops, which a signature does not.
    """
    options = {"keys": keys, "anchors": anchors}
    arguments = [str(file.resolve()), *(f"--{name}={path.resolve()}" for name, path in options.items() if path)]
    found: dict[str, Any] = {}
    with output.progress() as follower:
        follower.show("Inspecting the file")
        for event in Job("kinema_jobs.inspect", arguments, extras="finish").events():
            if event.get("event") == "inspected":
                found = {key: value for key, value in event.items() if key != "event"}
    output.result(found, _text(found))
    context.exit(EXIT_CODES[found["verdict"]])


def _text(found: dict[str, Any]) -> str:
    verdict: Verdict = found["verdict"]
    provenance, mark = found["provenance"], found["watermark"]
    lines = [f"{verdict}: {MEANINGS[verdict]}"]
    lines += [f"{title}: {_value(provenance[key])}" for title, key in _SHOWN if provenance[key]]
    lines += [f"problem: {code}" for code in provenance["problems"]]
    lines += [f"input {one['name']}: {_input(one)}" for one in provenance["inputs"]]
    if mark["id"] is not None:
        differs = ", which is not the one that the signature names" if mark["agrees"] is False else ""
        lines.append(f"watermark: {mark['id']} (key {mark['key']}){differs}")
    elif mark["looked"] != "yes":
        lines.append(f"watermark looked for: {mark['looked']}")
    return printable("\n".join(lines))


def _value(value: object) -> str:
    return "yes" if value is True else str(value)


def _input(one: dict[str, Any]) -> str:
    if not one["signed"]:
        return "not signed"
    return f"signed, with {', '.join(one['problems'])}" if one["problems"] else "signed"

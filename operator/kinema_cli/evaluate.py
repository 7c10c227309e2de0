"""`kinema evaluate`: how good a model is, as a table, as figures and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kinema_cli.jobs import Job
from kinema_cli.options import with_output
from kinema_cli.output import Output


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("report"),
    show_default=True,
    help="Folder for report.json and report.html.",
)
@click.option("--clips", type=click.IntRange(min=2), default=128, show_default=True, help="Clips of each group.")
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**31 - 1), default=0, show_default=True, help="Sets prompts and noise."
)
@click.option("--section", "sections", multiple=True, help="Only this section of the report; may be given again.")
@with_output
def evaluate(model: Path, out: Path, clips: int, seed: int, sections: tuple[str, ...], output: Output) -> None:
    """Measure the model in folder MODEL: captions, motion, permanence, tasks, distribution and memorisation.

    Everything is read from pixels and stands beside chance and the same measure on true clips.
    """
    report: dict[str, Any] = {}
    arguments = [f"--model={model}", f"--out={out}", f"--clips={clips}", f"--seed={seed}", "--json"]
    with output.progress() as follower:
        follower.show("Opening the model")
        for event in Job("kinema_jobs.evaluate", [*arguments, *(f"--section={name}" for name in sections)]).events():
            if event.get("event") == "progress":
                follower.show(f"Measuring {event['section']}", event["done"], event["total"])
            else:
                report = event
    rows = [
        [name, *(_percent(score[of]) for of in ("accuracy", "chance", "parser_accuracy"))]
        for name, score in report["attributes"].items()
    ]
    output.table(report, ["attribute", "accuracy", "chance", "parser"], rows)
    for path in report["files"]:
        output.note(path)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"

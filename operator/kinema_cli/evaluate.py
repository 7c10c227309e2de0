"""`kinema evaluate`: evaluates a model; prints a table, writes the metrics (JSON) and a report (HTML)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kinema_api.evaluation import (
    DEFAULT_COMMAND_CLIPS,
    DEFAULT_STREAM_SECONDS,
    MAX_SEED,
    MAX_STREAM_SECONDS,
    MIN_CLIPS,
    MIN_STREAM_SECONDS,
)
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
@click.option(
    "--clips",
    type=click.IntRange(min=MIN_CLIPS),
    default=DEFAULT_COMMAND_CLIPS,
    show_default=True,
    help="Clips per group.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=MAX_SEED),
    default=0,
    show_default=True,
    help="Random seed of prompts and noise.",
)
@click.option("--section", "sections", multiple=True, help="Only this section of the report; repeatable.")
@click.option(
    "--seconds",
    type=click.FloatRange(MIN_STREAM_SECONDS, MAX_STREAM_SECONDS),
    default=DEFAULT_STREAM_SECONDS,
    show_default=True,
    help="Seconds of the streams that drift is measured on; 60 for a minute.",
)
@click.option(
    "--beside",
    multiple=True,
    metavar="LABEL=FOLDER",
    help="Another model, compared on the same scenes and seeds; repeatable.",
)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of a prepared dataset of recorded clips that the model was trained on.",
)
@with_output
def evaluate(
    model: Path,
    out: Path,
    clips: int,
    seed: int,
    sections: tuple[str, ...],
    seconds: float,
    beside: tuple[str, ...],
    dataset: Path | None,
    output: Output,
) -> None:
    """Evaluate the model in folder MODEL: captions, motion, permanence, tasks, distribution, memorisation, drift of
    long streams, shots, frame rates, and the effect of captions, aspect ratios and other models; of recorded clips:
    validation loss, caption retrieval, dynamics, likeness and copies.

    All figures are measured on pixels and reported beside chance and the same figure for clips of the world. Sections
    that do not apply to the model are listed with the reason.
    """
    report: dict[str, Any] = {}
    arguments = [f"--model={model}", f"--out={out}", f"--clips={clips}", f"--seed={seed}", f"--seconds={seconds}"]
    arguments += ["--json", *(f"--section={name}" for name in sections), *(f"--beside={other}" for other in beside)]
    arguments += [] if dataset is None else [f"--dataset={dataset}"]
    with output.progress() as follower:
        follower.show("Loading the model")
        for event in Job("kinema_jobs.evaluate", arguments).events():
            if event.get("event") == "progress":
                follower.show(f"Measuring {event['section']}", event["done"], event["total"])
            else:
                report = event
    rows = [
        [name, *(_percent(score[of]) for of in ("accuracy", "chance", "parser_accuracy"))]
        for name, score in {**report["attributes"], **report["summary"]}.items()
    ]
    output.table(report, ["attribute", "accuracy", "chance", "parser"], rows)
    for path in report["files"]:
        output.note(path)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"

"""`kinema evaluate`: how often a model draws what its prompts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kinema_cli.jobs import Job
from kinema_cli.options import with_output
from kinema_cli.output import Output


@click.command()
@click.option("--model", required=True, type=click.Path(path_type=Path), help="A model folder on this machine.")
@click.option("--prompts", type=click.IntRange(min=1), default=128, show_default=True, help="How many prompts.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Sets prompts and noise.")
@with_output
def evaluate(model: Path, prompts: int, seed: int, output: Output) -> None:
    """Measure accuracy per attribute over prompts with unused seeds, beside chance and the parser's own accuracy."""
    report: dict[str, Any] = {}
    with output.progress() as follower:
        follower.show(f"Drawing {prompts} clips")
        for event in Job(
            "kinema_jobs.evaluate", [f"--model={model}", f"--prompts={prompts}", f"--seed={seed}", "--json"]
        ).events():
            report = event
    rows = [
        [name, f"{score['accuracy']:.1%}", f"{score['chance']:.1%}", f"{score['parser_accuracy']:.1%}"]
        for name, score in report["attributes"].items()
    ]
    output.table(report, ["attribute", "accuracy", "chance", "parser"], rows)

"""`python -m kinema_jobs.evaluate`: how good a model is, measured on this machine.

Writes report.json and report.html of kinema_evaluation. With --json it prints JSON lines: progress, and at last
all figures as one object; else a table of attributes with their accuracy, chance and the reader's own accuracy.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from kinema_api.clip import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS
from kinema_api.evaluation import (
    DEFAULT_COMMAND_CLIPS,
    DEFAULT_STREAM_SECONDS,
    MAX_SEED,
    MAX_STREAM_SECONDS,
    MIN_CLIPS,
    MIN_STREAM_SECONDS,
)
from kinema_dataset.errors import DatasetError
from kinema_evaluation import SECTIONS, EvaluationPlan, Report, evaluate
from kinema_evaluation.errors import EvaluationError
from kinema_jobs.clip.rendering import open_pipeline
from kinema_jobs.errors import JobError
from kinema_jobs.evaluate.recorded_clips import data_in
from kinema_jobs.evaluate.report import Identity, Origin, document, highlights, summary, write_report
from kinema_jobs.model_folder import find_model, verify_folder
from kinema_model.errors import ModelError
from kinema_model.text.weights import bundled_folder
from kinema_world.errors import WorldError
from kinema_world.stored import load_world

ABLATIONS: Final = "ablations"
_FOLDER: Final = click.Path(path_type=Path)


def main() -> int:
    """Exit codes: 0 done, 1 no usable model, 2 bad arguments."""
    try:
        return int(_command.main(prog_name="python -m kinema_jobs.evaluate", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not MIN_STREAM_SECONDS <= number <= MAX_STREAM_SECONDS:
        raise click.BadParameter(f"must be from {MIN_STREAM_SECONDS} to {MAX_STREAM_SECONDS}")
    return number


def _labelled(value: str) -> tuple[str, Path]:
    label, _, folder = value.partition("=")
    if not label or not folder:
        raise click.BadParameter("must be LABEL=FOLDER")
    return label, Path(folder)


@dataclass(frozen=True)
class _Arguments:
    model: Path
    out: Path | None
    clips: int
    seed: int
    section: tuple[str, ...]
    seconds: float
    beside: tuple[tuple[str, Path], ...]
    dataset: Path | None
    json: bool

    def __post_init__(self) -> None:
        labels = [label for label, _ in self.beside]
        if len(set(labels)) < len(labels):
            raise click.UsageError("--beside gives one label to two models. Give each its own.")
        if labels and ABLATIONS not in (self.section or SECTIONS):
            raise click.UsageError(f"--beside is compared in the section {ABLATIONS}. Add --section {ABLATIONS}.")


@click.command(help=__doc__)
@click.option("--model", required=True, type=_FOLDER, help="A model folder, or a folder used as a store.")
@click.option("--out", type=_FOLDER, help="Folder for report.json and report.html; without it none are written.")
@click.option(
    "--clips",
    type=click.IntRange(MIN_CLIPS),
    default=DEFAULT_COMMAND_CLIPS,
    show_default=True,
    help="Clips of each group of captions.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, help="Sets prompts and noise.")
@click.option("--section", multiple=True, type=click.Choice(SECTIONS), help="Only this one; may be given again.")
@click.option(
    "--seconds",
    type=_seconds,
    default=DEFAULT_STREAM_SECONDS,
    show_default=True,
    help=f"Length of streams, {MIN_STREAM_SECONDS} to {MAX_STREAM_SECONDS}.",
)
@click.option(
    "--beside",
    type=_labelled,
    multiple=True,
    metavar="LABEL=FOLDER",
    help="Another model on the same scenes and seeds; may be given again.",
)
@click.option("--dataset", type=_FOLDER, help="A prepared dataset of recorded clips that the model was trained on.")
@click.option("--json", is_flag=True, help="JSON lines instead of a table.")
def _command(**given: Any) -> int:
    arguments = _Arguments(**given)
    started = time.monotonic()
    try:
        bundled_folder()
        model = _identity(arguments.model)
        others = {label: _identity(path) for label, path in arguments.beside}
        beside = {label: open_pipeline(Path(other.folder)) for label, other in others.items()}
        pipeline = open_pipeline(Path(model.folder))
        tell = _tell if arguments.json else _silent
        with tempfile.TemporaryDirectory(prefix="kinema-evaluation-") as cache:
            recorded = None if arguments.dataset is None else data_in(arguments.dataset, Path(cache))
            report = evaluate(pipeline, _plan(arguments, model), tell, beside, recorded)
        origin = Origin(model.folder, model.digest, round(time.monotonic() - started, 1), others)
        files = write_report(report, origin, arguments.out) if arguments.out else []
    except (JobError, EvaluationError, ModelError, WorldError, DatasetError, OSError) as error:
        print(json.dumps({"error": str(error)}) if arguments.json else f"error: {error}")
        return 1
    if arguments.json:
        _print({"event": "report", "files": [str(path) for path in files], **document(report, origin)})
    else:
        print("\n".join([table(report), *map(str, files)]))
    return 0


def _plan(arguments: _Arguments, model: Identity) -> EvaluationPlan:
    """The plan of the evaluation, with the default steps and guidance of generations."""
    return EvaluationPlan(
        clips=arguments.clips,
        seed=arguments.seed,
        seconds=arguments.seconds,
        steps=DEFAULT_STEPS,
        guidance_scale=DEFAULT_GUIDANCE_SCALE,
        world=load_world(Path(model.folder)),
        sections=arguments.section or SECTIONS,
    )


def _identity(path: Path) -> Identity:
    """A model's folder, whose files are what they were when it was published."""
    folder = find_model(path)
    return Identity(str(folder), verify_folder(folder))


def _tell(section: str, done: int, total: int) -> None:
    _print({"event": "progress", "section": section, "done": done, "total": total})


def _silent(section: str, done: int, total: int) -> None:
    """No progress beside a table."""


def _print(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def table(report: Report) -> str:
    """A table for people: attributes, then the main figures."""
    lines = [f"{'':<58} {'accuracy':>9} {'chance':>7} {'parser':>7}"]
    for name, score in {**summary(report), **highlights(report)}.items():
        cells = (score[of] for of in ("accuracy", "chance", "parser_accuracy"))
        accuracy, chance, parser = ("" if cell is None else f"{cell:.1%}" for cell in cells)
        lines.append(f"{name:<58} {accuracy:>9} {chance:>7} {parser:>7}")
    return "\n".join([*lines, *(f"{name}: {why}" for name, why in report.absent.items())])


if __name__ == "__main__":
    sys.exit(main())

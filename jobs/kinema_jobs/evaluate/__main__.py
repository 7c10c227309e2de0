"""`python -m kinema_jobs.evaluate`: how good a model is, measured on this machine.

Writes report.json and report.html of kinema_evaluation. With --json it prints JSON lines: progress, and at last
all figures as one object; else a table of attributes with their accuracy, chance and the reader's own accuracy.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from kinema_evaluation import SECTIONS, Plan, Report, evaluate
from kinema_evaluation.errors import EvaluationError
from kinema_jobs.clip.rendering import open_pipeline
from kinema_jobs.errors import JobError
from kinema_jobs.evaluate.report import Identity, Origin, document, highlights, summary, write_report
from kinema_jobs.model_folder import find_model, verify_folder
from kinema_model.errors import ModelError
from kinema_model.text.weights import bundled_folder
from kinema_world.errors import WorldError
from kinema_world.stored import load_world

ABLATIONS: Final = "ablations"
DEFAULT_CLIPS: Final = 128
DEFAULT_SECONDS: Final = 20.0


def main() -> int:
    """Exit codes: 0 done, 1 no usable model, 2 bad arguments."""
    arguments = _arguments()
    started = time.monotonic()
    try:
        bundled_folder()
        model = _identity(arguments.model)
        others = {label: _identity(path) for label, path in arguments.beside}
        plan = Plan(
            clips=arguments.clips,
            seed=arguments.seed,
            seconds=arguments.seconds,
            world=load_world(Path(model.folder)),
            sections=tuple(arguments.section or SECTIONS),
        )
        beside = {label: open_pipeline(Path(other.folder)) for label, other in others.items()}
        report = evaluate(open_pipeline(Path(model.folder)), plan, _tell if arguments.json else _silent, beside)
        origin = Origin(model.folder, model.digest, round(time.monotonic() - started, 1), others)
        files = write_report(report, origin, arguments.out) if arguments.out else []
    except (JobError, EvaluationError, ModelError, WorldError, OSError) as error:
        print(json.dumps({"error": str(error)}) if arguments.json else f"error: {error}")
        return 1
    if arguments.json:
        _print({"event": "report", "files": [str(path) for path in files], **document(report, origin)})
    else:
        print("\n".join([table(report), *map(str, files)]))
    return 0


def _identity(path: Path) -> Identity:
    """A model's folder, whose files are what they were when it was published."""
    folder = find_model(path)
    return Identity(str(folder), verify_folder(folder))


def _tell(section: str, done: int, total: int) -> None:
    _print({"event": "progress", "section": section, "done": done, "total": total})


def _silent(section: str, done: int, total: int) -> None:
    """A table comes alone."""


def _print(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def table(report: Report) -> str:
    """The attributes and the figures that a reader wants first, for people."""
    lines = [f"{'':<58} {'accuracy':>9} {'chance':>7} {'parser':>7}"]
    for name, score in {**summary(report), **highlights(report)}.items():
        cells = (score[of] for of in ("accuracy", "chance", "parser_accuracy"))
        accuracy, chance, parser = ("" if cell is None else f"{cell:.1%}" for cell in cells)
        lines.append(f"{name:<58} {accuracy:>9} {chance:>7} {parser:>7}")
    return "\n".join([*lines, *(f"{name}: {why}" for name, why in report.absent.items())])


def _arguments() -> argparse.Namespace:
    parser = _parser()
    arguments = parser.parse_args()
    labels = [label for label, _ in arguments.beside]
    if len(set(labels)) < len(labels):
        parser.error("--beside gives one label to two models. Give each its own.")
    if labels and ABLATIONS not in (arguments.section or SECTIONS):
        parser.error(f"--beside is compared in the section {ABLATIONS}. Add --section {ABLATIONS}.")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kinema_jobs.evaluate", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="a model folder, or a folder used as a store")
    parser.add_argument("--out", type=Path, help="folder for report.json and report.html; without it none are written")
    parser.add_argument("--clips", type=_several, default=DEFAULT_CLIPS, help="clips of each group of captions")
    parser.add_argument("--seed", type=_natural, default=0, help="sets prompts and noise")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="only this one; may be given again")
    parser.add_argument("--seconds", type=_long, default=DEFAULT_SECONDS, help="length of streams, 10 to 600")
    parser.add_argument(
        "--beside",
        type=_labelled,
        action="append",
        default=[],
        metavar="LABEL=FOLDER",
        help="another model on the same scenes and seeds; may be given again",
    )
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    return parser


def _several(value: str) -> int:
    number = int(value)
    if number < 2:
        raise argparse.ArgumentTypeError("must be at least 2")
    return number


def _long(value: str) -> float:
    number = float(value)
    if not 10 <= number <= 600:
        raise argparse.ArgumentTypeError("must be from 10 to 600")
    return number


def _labelled(value: str) -> tuple[str, Path]:
    label, _, folder = value.partition("=")
    if not label or not folder:
        raise argparse.ArgumentTypeError("must be LABEL=FOLDER")
    return label, Path(folder)


def _natural(value: str) -> int:
    number = int(value)
    if not 0 <= number < 2**31:
        raise argparse.ArgumentTypeError("must be from 0 to 2147483647")
    return number


if __name__ == "__main__":
    sys.exit(main())

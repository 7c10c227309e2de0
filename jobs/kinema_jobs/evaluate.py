"""`python -m kinema_jobs.evaluate`: how often a model draws what its prompts say, on this machine.

Prints the report of kinema_model.evaluation: as JSON with --json, else as a table of attributes with their
accuracy, chance level and the parser's own accuracy on true clips.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

from kinema_jobs.errors import JobError
from kinema_jobs.model_folder import find_model, verify_folder
from kinema_jobs.rendering import open_pipeline
from kinema_model.errors import ModelError
from kinema_model.evaluation import Report, evaluate_attributes

DEFAULT_PROMPTS: Final = 128


def main() -> int:
    """Exit codes: 0 done, 1 no usable model, 2 bad arguments."""
    arguments = _parser().parse_args()
    started = time.monotonic()
    try:
        folder = find_model(arguments.model)
        digest = verify_folder(folder)
        report = evaluate_attributes(open_pipeline(folder), arguments.prompts, arguments.seed)
    except (JobError, ModelError, OSError) as error:
        print(json.dumps({"error": str(error)}) if arguments.json else f"error: {error}")
        return 1
    if arguments.json:
        seconds = round(time.monotonic() - started, 1)
        print(json.dumps({**report.model_dump(), "model": str(folder), "digest": digest, "seconds": seconds}))
    else:
        print(table(report))
    return 0


def table(report: Report) -> str:
    """The report for people."""
    lines = [f"{'attribute':<10} {'right':>7} {'of':>5} {'accuracy':>9} {'chance':>7} {'parser':>7}"]
    for name, score in report.attributes.items():
        lines.append(
            f"{name:<10} {score.correct:>7} {score.total:>5} {score.accuracy:>9.1%} {score.chance:>7.1%} "
            f"{score.parser_accuracy:>7.1%}"
        )
    lines.append(
        f"{'all three':<10} {report.all_correct:>7} {report.count:>5} {report.all_correct / report.count:>9.1%}"
    )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kinema_jobs.evaluate", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="a model folder, or a folder used as a store")
    parser.add_argument("--prompts", type=_positive, default=DEFAULT_PROMPTS, help="how many prompts")
    parser.add_argument("--seed", type=_natural, default=0, help="sets prompts and noise")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _natural(value: str) -> int:
    number = int(value)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


if __name__ == "__main__":
    sys.exit(main())

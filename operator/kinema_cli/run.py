"""`kinema run --local`: runs a training as processes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from kinema_cli.errors import EXIT_CODES_HELP, CommandError
from kinema_cli.jobs import Job
from kinema_cli.manifests import read_training
from kinema_cli.options import with_output
from kinema_cli.output import Output

DEFAULT_WORK: Final = Path("out/local")


@click.command(epilog=EXIT_CODES_HELP)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--local", is_flag=True, help="Run on this machine; `kinema train` runs a training in a cluster.")
@click.option("--nodes", type=click.IntRange(min=1), help="Agents to start; default: spec.nodes of the file.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_WORK,
    show_default=True,
    help="Folder for checkpoints, logs and the model.",
)
@click.option(
    "--kill-after-step", type=click.IntRange(min=1), help="Kill one agent after this step, to demonstrate recovery."
)
@with_output
def run(file: str, local: bool, nodes: int | None, work: Path, kill_after_step: int | None, output: Output) -> None:
    """Train the VideoModelTraining in FILE on this machine, without a cluster."""
    if not local:
        raise click.UsageError("add --local to run on this machine, or use `kinema train FILE` to run in a cluster")
    read_training(file, None)
    arguments = [file, f"--work={work}"]
    arguments += [f"--nodes={nodes}"] if nodes is not None else []
    arguments += [f"--kill-after-step={kill_after_step}"] if kill_after_step is not None else []
    published: dict[str, Any] = {}
    with output.progress() as follower:
        follower.show("Starting")
        for event in Job("kinema_jobs.local", arguments).events():
            if event["event"] == "progress":
                loss = f", loss {event['loss']:.3f}" if event.get("loss") is not None else ""
                agents = event.get("worldSize", "?")
                follower.show(f"Training on {agents} agents{loss}", event.get("step"), event.get("totalSteps"))
            elif event["event"] == "preparing":
                follower.show("Preparing the recorded clips")
            elif event["event"] == "evaluating":
                follower.show("Evaluating the model")
            elif event["event"] == "published":
                published = {key: value for key, value in event.items() if key != "event"}
            elif event["event"] != "error":
                output.note(str(event.get("message") or event["event"]))
    if not published:
        raise CommandError(f"the run ended without a model; its logs are in {work}")
    output.result(published, f"{published['digest']}\n{published['folder']}")

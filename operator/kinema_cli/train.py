"""`kinema train`: applies a training and can wait for its end, for use in pipelines."""

from __future__ import annotations

from typing import Any, Final

import click

from kinema_api import training
from kinema_api.training_memory import in_gib
from kinema_cli.errors import EXIT_CODES_HELP, CommandError
from kinema_cli.follow import reason, until_ended
from kinema_cli.jobs import Job
from kinema_cli.manifests import read_training
from kinema_cli.options import ClusterOptions, with_cluster, with_output
from kinema_cli.output import Follower, Output

ENDED: Final = ("Succeeded", "Failed")


@click.command(epilog=EXIT_CODES_HELP)
@click.argument("file")
@click.option("--wait/--no-wait", default=False, help="Follow the run to its end; the exit code is its result.")
@click.option("--run-id", help="A new value starts a new run of the training, with all other changes of the file.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Most seconds to wait; the run itself continues.")
@click.option(
    "--force-conflicts",
    is_flag=True,
    help="Take ownership of fields that another client has set, for example kubectl scale.",
)
@click.option("--plan", is_flag=True, help="Show the memory that workers will need, and apply nothing.")
@click.option("--base", type=click.Path(file_okay=False), help="With --plan: folder of the model of model.initFrom.")
@with_cluster
@with_output
def train(
    file: str,
    wait: bool,
    run_id: str | None,
    timeout: float | None,
    force_conflicts: bool,
    plan: bool,
    base: str | None,
    where: ClusterOptions,
    output: Output,
) -> None:
    """Apply the VideoModelTraining in FILE (- for standard input) and, with --wait, follow it to its end.

    Applying the same FILE again changes nothing; a new --run-id trains again.
    """
    body = read_training(file, run_id)
    if plan:
        _show_plan(file, base, output)
        return
    cluster = where.connect()
    stated = body["metadata"].get("namespace")
    if stated and where.namespace and stated != where.namespace:
        raise click.UsageError(f"FILE has namespace {stated}, --namespace is {where.namespace}")
    cluster.namespace = stated or cluster.namespace
    applied = cluster.apply(training.PLURAL, body, force=force_conflicts)
    name = applied["metadata"]["name"]
    if not wait:
        output.result(applied, f"{name}: applied; follow it with: kinema train {file} --wait")
        return
    with output.progress() as follower:
        done = until_ended(cluster, training.PLURAL, name, lambda o: _ended(o, applied), _show, follower, timeout)
    _conclude(done, output)


def _show_plan(file: str, base: str | None, output: Output) -> None:
    """Memory of each worker, by means to save it; * marks those of the file."""
    (plan,) = Job("kinema_jobs.train.plan", [file, *([f"--base={base}"] if base else [])]).events()
    output.note(
        f"{plan['parameters']:,} parameters, of which {plan['trained']:,} are trained; on each of the nodes at least:"
    )
    rows = [
        ["*" if row["chosen"] else "", row["means"], *(in_gib(row[part]) for part in ("state", "clip", "step"))]
        for row in plan["rows"]
    ]
    columns = ["", "means", "weights", "with one clip", f"with {plan['stepTokens']} tokens"]
    output.table(plan, columns, rows)


def _ended(found: dict[str, Any], applied: dict[str, Any]) -> bool:
    """Whether the run that was applied has ended; the status of an earlier run or spec does not count."""
    status = found.get("status", {})
    seen = status.get("observedGeneration", 0) >= applied["metadata"]["generation"]
    same_run = status.get("runId") == applied["spec"].get("runId")
    return seen and same_run and status.get("phase") in ENDED


def _show(found: dict[str, Any], follower: Follower) -> None:
    status = found.get("status", {})
    progress, nodes = status.get("progress") or {}, status.get("nodes") or {}
    parts = [status.get("phase", "Pending")]
    if status.get("phase") == "Evaluating":
        follower.show(parts[0])
        return
    if progress:
        parts.append(f"{nodes.get('ready', 0)} of {nodes.get('desired', 0)} nodes")
        if progress.get("loss") is not None:
            parts.append(f"loss {progress['loss']:.3f}")
        if progress.get("etaSeconds") is not None:
            parts.append(f"{progress['etaSeconds']} s left")
    elif why := reason(status):
        parts.append(why)
    follower.show(", ".join(parts), progress.get("step"), progress.get("totalSteps"))


def _conclude(done: dict[str, Any], output: Output) -> None:
    name, status = done["metadata"]["name"], done["status"]
    if status["phase"] == "Failed":
        raise CommandError(f"{name} failed: {reason(status) or 'see `kinema get trainings ' + name + '`'}")
    published = (status.get("published") or {}).get("digest")
    restarts = sum((status.get("restarts") or {}).values())
    text = f"{name}: succeeded in run {status.get('run')} after {restarts} restarts"
    output.result(done, f"{text}, published {published}" if published else text)

"""`python -m kinema_jobs.local FILE --work DIR`: a training on this machine, reported as one JSON object per line.

{"event":"preparing","message"}         {"event":"prepared","message","samples","reused"}
{"event":"started","message"}           {"event":"progress","step","totalSteps","loss","worldSize",...}
{"event":"killed","worker","step"}      {"event":"recovered","seconds","step"}
{"event":"evaluating","message"}        {"event":"evaluated","message","report","accuracy","passed","seconds"}
{"event":"published","digest","folder"} {"event":"error","failureClass","message"}, then the class's exit code
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import click
from torchx.schedulers.local_scheduler import SignalException

from kinema_api.objectstore import StoreLocation
from kinema_api.wire import EXIT_CODES
from kinema_jobs.local.run import Event, LocalTraining, read_training, run_local
from kinema_jobs.train.failures import TrainingFailure

INTERRUPTED = 130
_PATH: Final = click.Path(path_type=Path)


def main() -> int:
    """Run, measure and publish; the exit code says how it ended."""
    try:
        return int(_command.main(prog_name="python -m kinema_jobs.local", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, SignalException, click.Abort):
        return INTERRUPTED


@click.command(help=__doc__)
@click.argument("file", type=_PATH)
@click.option("--work", type=_PATH, required=True, help="Folder for logs and, unless --store, for artefacts.")
@click.option("--nodes", type=int, help="Agents to start; default: the file's nodes.")
@click.option("--kill-after-step", type=int, help="SIGKILL one agent after this step.")
@click.option("--store", help="file:///folder or http(s)://host:port; default: WORK/store.")
@click.option("--bucket", default="kinema", show_default=True)
@click.option("--credentials", type=_PATH, help="File with a StoreCredentials JSON, for S3.")
@click.option("--ca-file", type=_PATH, help="File with the authorities of an https store, in PEM.")
@click.option("--json", is_flag=True, expose_value=False, help="Accepted for symmetry: output is always JSON lines.")
def _command(
    file: Path,
    work: Path,
    nodes: int | None,
    kill_after_step: int | None,
    store: str | None,
    bucket: str,
    credentials: Path | None,
    ca_file: Path | None,
) -> int:
    place = StoreLocation(endpoint=store or f"file://{work.absolute() / 'store'}", bucket=bucket)
    try:
        training = read_training(file, nodes)
        run_local(LocalTraining(training, work, place, credentials, kill_after_step, ca_file), _tell)
    except TrainingFailure as error:
        _tell({"event": "error", "failureClass": error.failure_class, "message": str(error)})
        return EXIT_CODES[error.failure_class]
    return 0


def _tell(event: Event) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())

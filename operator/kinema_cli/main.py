"""`kinema`: train, watch and render from a shell or a pipeline."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Final

import click

from kinema_cli.cancel import cancel
from kinema_cli.download import download
from kinema_cli.errors import EXIT_CODES_HELP
from kinema_cli.evaluate import evaluate
from kinema_cli.gc import gc
from kinema_cli.generate import generate
from kinema_cli.get import get
from kinema_cli.inspect import inspect
from kinema_cli.logs import logs
from kinema_cli.prepare import prepare
from kinema_cli.run import run
from kinema_cli.train import train
from kinema_cli.upload_folder import upload_folder
from kinema_cli.version import version

TERMINATED: Final = 128 + signal.SIGTERM


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES_HELP)
def main() -> None:
    """Train and serve video models on Kubernetes."""
    # On SIGTERM, processes started by --local must end with the command.
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


for _command in (
    train,
    generate,
    download,
    get,
    logs,
    prepare,
    run,
    evaluate,
    inspect,
    cancel,
    upload_folder,
    gc,
    version,
):
    main.add_command(_command)

if __name__ == "__main__":
    main()

"""`kinema version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

import click

from kinema_api.names import API_VERSION
from kinema_cli.options import with_output
from kinema_cli.output import Output


@click.command()
@with_output
def version(output: Output) -> None:
    """Print the version of this command and of the API that it speaks."""
    found = {"kinema": installed("kinema"), "api": API_VERSION, "python": platform.python_version()}
    output.result(found, f"kinema {found['kinema']} ({found['api']}, Python {found['python']})")

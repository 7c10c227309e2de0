"""`kinema cancel`."""

from __future__ import annotations

import click

from kinema_api import generation
from kinema_cli.options import ClusterOptions, with_cluster, with_output
from kinema_cli.output import Output


@click.command()
@click.argument("name")
@with_cluster
@with_output
def cancel(name: str, where: ClusterOptions, output: Output) -> None:
    """Stop the generation NAME before its next denoising step."""
    changed = where.connect().patch(generation.PLURAL, name, {"spec": {"cancel": True}})
    phase = changed.get("status", {}).get("phase", "Pending")
    output.result(changed, f"{name}: stopping (it was {phase})")

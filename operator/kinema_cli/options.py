"""Options that several commands share, and the one place where errors become exit codes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kinema_cli.errors import INTERRUPTED, CommandError
from kinema_cli.output import Output

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster

Command = Callable[..., Any]


def with_output(command: Command) -> Command:
    """Adds --json; the command gets `output: Output`, and its errors become sentences and exit codes."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text and progress.")
    @functools.wraps(command)
    def run(*args: Any, as_json: bool, **kwargs: Any) -> None:
        output = Output(as_json=as_json)
        context = click.get_current_context()
        try:
            command(*args, output=output, **kwargs)
        except CommandError as error:
            output.error(error)
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            output.error(_Interrupted("interrupted; requests to the cluster continue, see `kinema get`"))
            context.exit(INTERRUPTED)

    return run


class _Interrupted(CommandError):
    exit_code = INTERRUPTED


@dataclass(frozen=True)
class ClusterOptions:
    """Which cluster and namespace; connects when asked, so that --help and --local need no cluster."""

    kubeconfig: str | None
    context: str | None
    namespace: str | None

    def connect(self) -> Cluster:
        """A connection. Raises `ClusterUnreachable`."""
        from kinema_cli.cluster import Cluster

        return Cluster.connect(self.kubeconfig, self.context, self.namespace)


with_ca_file = click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="KINEMA_CA_FILE",
    show_envvar=True,
    help="PEM file of CA certificates to trust for the object store, in addition to the system's.",
)
"""Adds --ca-file; the command gets `ca_file: Path | None`."""


def with_cluster(command: Command) -> Command:
    """Adds --namespace, --context and --kubeconfig; the command gets `where: ClusterOptions`."""

    @click.option("-n", "--namespace", help="Namespace; default: that of the kubeconfig's context.")
    @click.option("--context", help="Context of the kubeconfig.")
    @click.option("--kubeconfig", help="Path of a kubeconfig; default: KUBECONFIG, else ~/.kube/config.")
    @functools.wraps(command)
    def run(*args: Any, namespace: str | None, context: str | None, kubeconfig: str | None, **kwargs: Any) -> Any:
        return command(*args, where=ClusterOptions(kubeconfig, context, namespace), **kwargs)

    return run

"""`kinema get`: the columns are those of `kubectl get`, rendered by the API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from kinema_api import generation, serving, training
from kinema_cli.options import ClusterOptions, with_cluster, with_output
from kinema_cli.output import Output, printable

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster

PLURALS: Final = {
    "trainings": training.PLURAL,
    "models": serving.PLURAL,
    "generations": generation.PLURAL,
}
_NESTED: Final = ("conditions", "history")


@click.command()
@click.argument("kind", type=click.Choice([*PLURALS, "all"]), default="all")
@click.argument("name", required=False)
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@with_cluster
@with_output
def get(kind: str, name: str | None, all_namespaces: bool, where: ClusterOptions, output: Output) -> None:
    """Show trainings, models and generations, or one of them by NAME.

    With --json the objects themselves, as a list or, by NAME, as one.
    """
    if name is not None and (kind == "all" or all_namespaces):
        raise click.UsageError("NAME requires a kind and one namespace: kinema get generations NAME")
    cluster = where.connect()
    if name is not None:
        found = cluster.get(PLURALS[kind], name)
        output.result(found, describe(found))
        return
    plurals = list(PLURALS.values()) if kind == "all" else [PLURALS[kind]]
    if output.as_json:
        output.result([item for p in plurals for item in cluster.listing(p, everywhere=all_namespaces)["items"]])
        return
    shown = [_show(cluster, plural, all_namespaces, output) for plural in plurals]
    if not any(shown):
        output.note(f"nothing in {'any namespace' if all_namespaces else 'namespace ' + cluster.namespace}")


def _show(cluster: Cluster, plural: str, everywhere: bool, output: Output) -> bool:
    """Print one kind as a table; False if there is none of it."""
    table = cluster.listing(plural, everywhere=everywhere, as_table=True)
    narrow = [i for i, column in enumerate(table["columnDefinitions"]) if not column.get("priority")]
    columns = [str(table["columnDefinitions"][i]["name"]) for i in narrow]
    rows = [[_cell(row["cells"][i]) for i in narrow] for row in table.get("rows") or []]
    columns[0] = plural
    if everywhere:
        columns.insert(0, "namespace")
        rows = [
            [str(source["object"]["metadata"]["namespace"]), *row]
            for source, row in zip(table.get("rows") or [], rows, strict=True)
        ]
    if rows:
        output.table(table, columns, rows)
    return bool(rows)


def _cell(value: Any) -> str:
    return "" if value is None else printable(str(value))


def describe(found: dict[str, Any]) -> str:
    """One object for people: spec and status as indented lines, then its conditions."""
    metadata, status = found["metadata"], found.get("status", {})
    lines = [f"{found['kind']} {metadata['namespace']}/{metadata['name']}: {status.get('phase', 'Pending')}", "spec"]
    lines += _fields(found.get("spec", {}), 1)
    lines.append("status")
    lines += _fields({k: v for k, v in status.items() if k not in _NESTED}, 1)
    conditions = status.get("conditions", [])
    if conditions:
        lines.append("conditions")
        lines += [f"  {c['type']}={c['status']} {c['reason']}: {c.get('message', '')}" for c in conditions]
    return printable("\n".join(lines))


def _fields(value: dict[str, Any], depth: int) -> list[str]:
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            lines.append("  " * depth + key)
            lines += _fields(inner, depth + 1)
        else:
            lines.append("  " * depth + f"{key}: {inner}")
    return lines

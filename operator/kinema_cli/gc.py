"""`kinema gc`: finds artefacts in the bucket whose resource has been deleted.

Deleting a resource keeps its artefacts unless its deletionPolicy is Delete. The command needs the user's own keys to
the store: it reads no Secret of the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic import ValidationError

from kinema_api import generation, layout, training
from kinema_api.errors import StorageError
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import open_store
from kinema_cli.errors import EXIT_CODES_HELP, BadManifest, ClusterUnreachable
from kinema_cli.options import ClusterOptions, with_ca_file, with_cluster, with_output
from kinema_cli.output import Output, printable
from kinema_cli.store_keys import credentials

if TYPE_CHECKING:
    from kinema_api.objectstore import ObjectStore
    from kinema_cli.cluster import Cluster

MOST_OBJECTS: Final = 10_000_000
_OF_TRAINING: Final = re.compile(r"(trainings/[^/]+/[^/]+/([^/]+)/)[^/]")
_OF_GENERATION: Final = re.compile(r"(generations/[^/]+/([^/]+)/)[^/]")


@dataclass
class Folder:
    """A folder that one resource wrote, and its objects."""

    prefix: str
    uid: str
    keys: list[str]
    bytes: int = 0


@click.command(epilog=EXIT_CODES_HELP)
@click.option("--endpoint", required=True, help="The object store, such as https://s3.example.com.")
@click.option("--bucket", required=True, help="The bucket of Kinema's artefacts.")
@click.option("--region", default="us-east-1", show_default=True, help="The bucket's region.")
@with_ca_file
@click.option("--delete", is_flag=True, help="Delete what is listed. This cannot be undone.")
@with_cluster
@with_output
def gc(
    endpoint: str,
    bucket: str,
    region: str,
    ca_file: Path | None,
    delete: bool,
    where: ClusterOptions,
    output: Output,
) -> None:
    """List folders of trainings and generations of the namespace whose resource is gone.

    Keys to the store are yours: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. Published models and
    uploaded inputs are never listed. A bucket that several clusters write to holds folders of the others too, which
    this command cannot tell from orphans: do not use --delete there.
    """
    cluster = where.connect()
    try:
        location = StoreLocation(endpoint=endpoint, bucket=bucket, region=region)
        store = open_store(location, credentials(endpoint), ca_file)
        # List the bucket first: a resource created between the two lists is then not taken for an orphan.
        found = folders(store, cluster.namespace)
        known = living(cluster)
        orphans = [folder for folder in found if folder.uid not in known]
        if delete:
            for key in (key for folder in orphans for key in folder.keys):
                store.delete(key)
    except StorageError as error:
        raise ClusterUnreachable(f"{error}; check --endpoint, --bucket and your keys") from None
    except ValidationError:
        raise BadManifest("the endpoint, the bucket or a key is invalid; correct it") from None
    document = [{"prefix": f.prefix, "objects": len(f.keys), "bytes": f.bytes, "deleted": delete} for f in orphans]
    lines = [f"{f.prefix}  {len(f.keys)} objects, {f.bytes} bytes" for f in orphans]
    output.result(document, printable("\n".join(lines)) if lines else None)
    if not orphans:
        output.note(f"nothing in {bucket} is left of deleted resources of namespace {cluster.namespace}")
    elif not delete:
        output.note("nothing was deleted; check the list, then add --delete")


def folders(store: ObjectStore, namespace: str) -> list[Folder]:
    """Every folder of a resource of this namespace, by the layout. Raises `StorageError`."""
    found: dict[str, Folder] = {}
    for prefix, pattern in (
        (f"trainings/{namespace}/", _OF_TRAINING),
        (layout.generations_prefix(namespace), _OF_GENERATION),
    ):
        for item in store.list(prefix, MOST_OBJECTS):
            if parts := pattern.match(item.key):
                folder = found.setdefault(parts[1], Folder(parts[1], parts[2], []))
                folder.keys.append(item.key)
                folder.bytes += item.bytes
    return list(found.values())


def living(cluster: Cluster) -> set[str]:
    """UIDs of all trainings and generations of the namespace."""
    return {str(uid) for plural in (training.PLURAL, generation.PLURAL) for uid in _uids(cluster, plural)}


def _uids(cluster: Cluster, plural: str) -> Iterator[Any]:
    return (item["metadata"]["uid"] for item in cluster.listing(plural, everywhere=False)["items"])

"""`kinema download`: downloads a file of a generation and keeps it only if its digest matches the status."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click
import urllib3

from kinema_api import generation
from kinema_api.errors import ObjectTooLarge, StorageError, StoreUnusable
from kinema_api.storehttp import Budget, WatchedPools, bounded, read_ca_file
from kinema_api.wire import MAX_ARTEFACT_BYTES
from kinema_cli.errors import EXIT_CODES_HELP, BadManifest, CommandError, NotFound
from kinema_cli.links import Link, LinkOptions, ask, with_links
from kinema_cli.options import ClusterOptions, with_cluster, with_output
from kinema_cli.output import Output

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster

CHUNK: Final = 1 << 20
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 60.0
TRIES: Final = 4
ANSWER_SECONDS: Final = 120.0
"""Time limit for the first byte, including retries; the rest is limited by SLOWEST_BYTES_PER_SECOND."""
SLOWEST_BYTES_PER_SECOND: Final = 16 << 10
"""A slower download fails."""
SUFFIXES: Final = {"video": ".mp4", "thumbnail": "-thumbnail.webp", "spritesheet": "-spritesheet.webp"}
"""What can be downloaded, by its field in the status, and how the name of the file ends by default."""


@click.command(epilog=EXIT_CODES_HELP)
@click.argument("name")
@click.option(
    "--file", "field", type=click.Choice(list(SUFFIXES)), default="video", show_default=True, help="File of the clip."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Output file; default: NAME.mp4.")
@with_links
@with_cluster
@with_output
def download(
    name: str, field: str, out: Path | None, asking: LinkOptions, where: ClusterOptions, output: Output
) -> None:
    """Fetch the clip of the VideoGeneration NAME.

    Asks the operator for a signed URL, with the token of a service account that may get the VideoGeneration: see
    manifests/samples/download.yaml. With --token-file and --links-url no kubeconfig is needed.
    """
    path = out or Path(f"{name}{SUFFIXES[field]}")
    if asking.need_no_cluster:
        links = ask(asking, None, where.namespace or where.connect().namespace, name)
        if field not in links:
            raise NotFound(f"{name} has no {field}; omit --file for the clip itself")
        link = links[field]
        fetch(link.url, path, link.sha256, ca_bundle=authorities(asking, {}))
    else:
        cluster = where.connect()
        link = fetch_file(cluster, cluster.get(generation.PLURAL, name), field, path, asking)
    output.result({"name": name, "path": str(path), "sha256": link.sha256}, str(path))


def fetch_file(cluster: Cluster, found: dict[str, Any], field: str, path: Path, asking: LinkOptions) -> Link:
    """Download one file of a generation, by the URL in its status, or else by a presigned URL that is requested.

    Raises:
        CommandError: the file does not exist, cannot be downloaded, or does not match its digest in the status.
    """
    name, status = found["metadata"]["name"], found.get("status", {})
    artefact = status.get(field)
    if artefact is None:
        phase = status.get("phase", "Pending")
        raise NotFound(f"{name} is {phase} and has no {field}; see `kinema get generations {name}`")
    if artefact.get("url"):
        link = Link(artefact["url"], artefact["sha256"])
    else:
        links = ask(asking, cluster, cluster.namespace, name)
        if field not in links:
            raise CommandError(f"the operator returned no URL for the {field} of {name}; try again")
        link = Link(links[field].url, artefact["sha256"])
    limit = int(artefact.get("bytes") or MAX_ARTEFACT_BYTES)
    fetch(link.url, path, link.sha256, limit, authorities(asking, found))
    return link


def authorities(asking: LinkOptions, found: dict[str, Any]) -> str | None:
    """PEM of the CA certificates for the clip's store: those in the resource and those of the caller.

    Raises:
        BadManifest: the caller's file has none.
    """
    stores = (found.get("status", {}).get("stores", {}).get("clips"), found.get("spec", {}).get("artifactStore"))
    named = [store["caBundle"] for store in stores if store and store.get("caBundle")]
    try:
        from_option = [read_ca_file(asking.ca_file)] if asking.ca_file else []
    except StoreUnusable as error:
        raise BadManifest(str(error)) from None
    return "\n".join(dict.fromkeys(from_option + named)) or None


def fetch(url: str, path: Path, sha256: str, limit: int = MAX_ARTEFACT_BYTES, ca_bundle: str | None = None) -> None:
    """Download at most `limit` bytes to `path`, which appears only when its digest is right.

    `ca_bundle`: CA certificates (PEM) to trust in addition to the system's.

    Raises:
        CommandError: the download failed or has another digest. The message does not contain the presigned URL.
    """
    host = urlsplit(url).netloc
    partial = path.with_name(f"{path.name}.partial")
    try:
        pool = WatchedPools(
            ca_bundle,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=urllib3.Retry(total=TRIES, backoff_factor=0.2, status_forcelist=[429, 500, 502, 503, 504]),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = _stream(pool, url, host, partial, limit)
        if digest != sha256:
            raise CommandError(f"{path}: the bytes from {host} do not match the digest in the status; try again")
        partial.replace(path)
    except ObjectTooLarge:
        raise CommandError(f"{host} sent more than the {limit} bytes that the clip has; try again") from None
    except StorageError as error:
        raise CommandError(f"{host}: {error}; try again") from None
    except urllib3.exceptions.HTTPError as error:
        if isinstance(getattr(error, "reason", error), urllib3.exceptions.SSLError):
            raise CommandError(
                f"the certificate of {host} is not trusted (TLS); pass its CA certificate with --ca-file, or check "
                "that "
                "the store's publicEndpoint has the name in its certificate"
            ) from None
        raise CommandError(
            f"{host} does not respond ({type(error).__name__}); check that the store's publicEndpoint is reachable "
            "from here"
        ) from None
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}); choose another --out") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _stream(pool: urllib3.PoolManager, url: str, host: str, partial: Path, limit: int) -> str:
    """Write the response to `partial`; returns its SHA-256 in hex."""
    digest = hashlib.sha256()
    with Budget(ANSWER_SECONDS) as budget:
        try:
            answer = pool.request("GET", url, preload_content=False, redirect=False)
            try:
                if answer.status != 200:
                    raise CommandError(
                        f"{host} refuses the download (status {answer.status}); the presigned URL may have expired, "
                        "try again"
                    )
                announced = answer.headers.get("content-length") or ""
                budget.extend(min(int(announced), limit) if announced.isdecimal() else limit, SLOWEST_BYTES_PER_SECOND)
                with partial.open("wb") as out:
                    for chunk in bounded(answer, limit, "the clip", CHUNK):
                        digest.update(chunk)
                        out.write(chunk)
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError:
            budget.check()
            raise
        budget.check()
    return digest.hexdigest()

"""`kinema upload`: a folder of weights or clips to a prefix of a bucket, going on where it was interrupted.

Every file is digested first, so what is there already is not sent again. The manifest of weights is written last: until
then the folder is no model, and servers take nothing of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from kinema_api import layout
from kinema_api.card import CARD, ModelCard
from kinema_api.errors import InvalidManifest, ObjectMissing, ObjectTooLarge, StorageError
from kinema_api.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestFile
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.prefix_uri import PrefixUri, bucket_and_prefix
from kinema_cli.errors import EXIT_CODES_HELP, BadManifest, ClusterUnreachable
from kinema_cli.jobs import Job
from kinema_cli.options import with_ca_file, with_output
from kinema_cli.output import Follower, Output, printable
from kinema_cli.store_keys import credentials
from kinema_cli.upload_selection import Selection, card_without_torch, select

if TYPE_CHECKING:
    from kinema_api.objectstore import ObjectStore

CHECKED_WITH: Final = ("torch", "diffusers", "transformers")
"""What the check of open weights needs; without it, names alone are checked."""
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Local:
    """A file of the folder and its digest."""

    path: Path
    file: ManifestFile


@click.command("upload", epilog=EXIT_CODES_HELP)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("target", metavar="s3://BUCKET/PREFIX/")
@click.option(
    "--endpoint",
    required=True,
    envvar=["KINEMA_STORE_ENDPOINT", "AWS_ENDPOINT_URL"],
    show_envvar=True,
    help="The object store, such as https://s3.example.com.",
)
@click.option("--region", default="us-east-1", show_default=True, envvar="AWS_REGION", help="The bucket's region.")
@with_ca_file
@click.option(
    "--manifest/--no-manifest",
    "sealed",
    default=None,
    help="Write manifest.json last, which makes the folder a model. Default: for folders with model_index.json or "
    "config.json.",
)
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Files sent at a time.")
@with_output
def upload_folder(
    path: Path,
    target: str,
    endpoint: str,
    region: str,
    ca_file: Path | None,
    sealed: bool | None,
    parallel: int,
    output: Output,
) -> None:
    """Upload the folder PATH to s3://BUCKET/PREFIX/: weights to serve, or clips to train on.

    Keys to the store are yours: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. Files that are there
    with the same digest are skipped, so the command goes on after an interruption. Of weights only safetensors, JSON,
    text and tokenizer files are taken, and what is left out is named. In the operator's own store, a model or training
    may name prefixes below inputs/NAMESPACE/ and shared/.
    """
    bucket, prefix = _place(target)
    selection = select(path)
    card = _card(path, selection)
    try:
        location = StoreLocation(endpoint=endpoint, bucket=bucket, region=region)
        store = open_store(location, credentials(endpoint), ca_file)
        store.check()
        seal = selection.kind != "clips" if sealed is None else sealed
        with output.progress() as follower:
            _Upload(store, target, prefix, parallel, follower, output).run(path, selection, card, seal)
    except StorageError as error:
        raise ClusterUnreachable(f"{error}. Run the command again: files that are there are not sent again") from None
    except OSError as error:
        raise BadManifest(f"{error.filename or path} cannot be read ({error.strerror}); correct it") from None
    except ValidationError:
        raise BadManifest("the endpoint, the bucket or a key is invalid; correct it") from None


def _place(target: str) -> tuple[str, str]:
    try:
        return bucket_and_prefix(TypeAdapter(PrefixUri).validate_python(target))
    except ValidationError as error:
        raise BadManifest(f"{target}: {error.errors()[0]['msg']}") from None


def _card(path: Path, selection: Selection) -> ModelCard | None:
    """What open weights say of themselves, after a check; None for other folders. Raises `BadManifest`."""
    if selection.kind != "open weights":
        return None
    card = card_without_torch(path)
    if all(importlib.util.find_spec(name) for name in CHECKED_WITH):
        for event in Job("kinema_jobs.inspect_weights", [str(path)]).events():
            if event.get("event") == "inspected":
                card = ModelCard.parse(event["card"])
    return card


@dataclass(frozen=True)
class _Upload:
    store: ObjectStore
    target: str
    prefix: str
    parallel: int
    follower: Follower
    output: Output

    def run(self, path: Path, selection: Selection, card: ModelCard | None, seal: bool) -> None:
        """Send what is missing, then the manifest; print what was done."""
        for name in selection.left_out:
            self.output.note(printable(f"left out: {name}"))
        found = list(self._digested(selection))
        small = {} if card is None else {CARD: card.model_dump_json(by_alias=True, exclude_none=True).encode()}
        manifest = _sealed(found, small) if seal else None
        if manifest is not None:
            self._withdraw(manifest)
        missing = self._missing(found)
        self._send(missing)
        for name, data in small.items():
            self.store.put(self.prefix + name, data, "application/json")
        if manifest is not None:
            self.store.put(self.prefix + layout.MANIFEST, manifest.to_bytes(), "application/json")
        self._report(path, found, missing, selection, manifest)

    def _digested(self, selection: Selection) -> Iterator[Local]:
        total = sum(path.stat().st_size for path in selection.files.values())
        done = 0

        def digested(entry: tuple[str, Path]) -> Local:
            name, path = entry
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Local(path, _manifest_file(name, digest, path.stat().st_size))

        for local in self._parallel(digested, selection.files.items()):
            done += local.file.bytes
            self.follower.show("Reading", done, total)
            yield local

    def _withdraw(self, manifest: Manifest) -> None:
        """Delete the manifest of another model, so that nothing is served while files are replaced."""
        key = self.prefix + layout.MANIFEST
        try:
            if self.store.get(key, MAX_MANIFEST_BYTES) != manifest.to_bytes():
                self.store.delete(key)
        except ObjectMissing:
            pass
        except ObjectTooLarge:
            self.store.delete(key)

    def _missing(self, found: list[Local]) -> list[Local]:
        """Files that the store does not have with this length and digest."""
        sizes = {item.key: item.bytes for item in self.store.list(self.prefix)}

        def is_missing(local: Local) -> tuple[Local, bool]:
            key = self.prefix + local.file.name
            if sizes.get(key) != local.file.bytes:
                return local, True
            there = self.store.stat(key)
            return local, there is None or local.file.sha256 not in (there.sha256, there.etag)

        return [local for local, missing in self._parallel(is_missing, found) if missing]

    def _send(self, missing: list[Local]) -> None:
        done, total = 0, sum(local.file.bytes for local in missing)

        def send(local: Local) -> Local:
            self.store.put_file(self.prefix + local.file.name, local.path, local.file.sha256)
            return local

        for local in self._parallel(send, missing):
            done += local.file.bytes
            self.follower.show("Uploading", done, total)

    def _parallel(self, work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """Results as they come; the first error ends what has not begun."""
        with ThreadPoolExecutor(self.parallel) as threads:
            running = [threads.submit(work, item) for item in items]
            try:
                for future in as_completed(running):
                    yield future.result()
            except BaseException:
                threads.shutdown(wait=True, cancel_futures=True)
                raise

    def _report(
        self, path: Path, found: list[Local], missing: list[Local], selection: Selection, manifest: Manifest | None
    ) -> None:
        digest = manifest.digest() if manifest else None
        document = {
            "uri": self.target,
            "kind": selection.kind,
            "digest": digest,
            "files": len(found),
            "bytes": sum(local.file.bytes for local in found),
            "sent": len(missing),
            "leftOut": list(selection.left_out),
        }
        said = f"{self.target}: {len(found)} files of {path}, of which {len(missing)} were sent"
        self.output.result(document, printable(f"{said}\n{digest}" if digest else said))


def _manifest_file(name: str, digest: str, size: int) -> ManifestFile:
    # Clips have no manifest, so that their names may be any that a store takes.
    return ManifestFile.model_construct(name=name, sha256=digest, bytes=size)


def _sealed(found: list[Local], small: dict[str, bytes]) -> Manifest:
    """The manifest of a folder, its files in the order of their names, so that equal folders have equal digests.

    Raises:
        BadManifest: a name is none that a manifest may have.
    """
    files = [local.file for local in found]
    files += [
        ManifestFile(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for name, data in small.items()
    ]
    named = sorted((file.to_wire() for file in files), key=lambda file: str(file["name"]))
    try:
        return Manifest.parse({"kind": "model", "files": named})
    except InvalidManifest as error:
        raise BadManifest(
            f"a file's name cannot stand in a manifest: {error}; rename it, or use --no-manifest"
        ) from None

"""The model of an order, fetched once, verified against its digest, and kept on disk and in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kinema_api.errors import BrokenManifest
from kinema_api.layout import MANIFEST
from kinema_api.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestFile
from kinema_api.wire import OrderedModel
from kinema_jobs.errors import ModelUnusable
from kinema_jobs.model_folder import check_file, check_name, sha256_of
from kinema_jobs.serve.pieces import OnBytes, fetch_file
from kinema_jobs.serve.transfer import Transfers

if TYPE_CHECKING:
    from kinema_jobs.clip.model import ClipModel

InThread = Callable[[Callable[[], "ClipModel"]], Awaitable["ClipModel"]]


class ModelCache:
    """Caches the model that this server serves; `digest` is that of its manifest."""

    def __init__(self, digest: str, folder: Path, transfers: Transfers, load: Callable[[Path], ClipModel]) -> None:
        self.digest = digest
        self._folder = folder / digest.removeprefix("sha256:")
        self._transfers = transfers
        self._load = load
        self._loaded: ClipModel | None = None
        self._verified: set[str] = set()
        """Files that this process has compared with the manifest: large ones take minutes."""

    @property
    def loaded(self) -> ClipModel | None:
        """The model if it is in memory."""
        return self._loaded

    async def obtain(
        self, model: OrderedModel, in_thread: InThread, on_percent: Callable[[int], None] = lambda _: None
    ) -> ClipModel:
        """The model, from memory, else from disk, else from the order's presigned URLs.

        `on_percent` is called with the share of its bytes that are on disk.

        Raises:
            ModelUnusable: a file does not match the digest; the message names it.
            TransferFailed: the object store does not answer.
        """
        if self._loaded is None:
            transfers = self._transfers.trusting(model.ca_bundle)
            manifest = await self._manifest(model, transfers)
            await self._files(manifest, model, transfers, on_percent)
            self._loaded = await in_thread(lambda: self._load(self._folder))
        return self._loaded

    async def _manifest(self, model: OrderedModel, transfers: Transfers) -> Manifest:
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        path = self._folder / MANIFEST
        if not path.exists() or await asyncio.to_thread(_digest_of, path) != self.digest:
            partial = path.with_suffix(".partial")
            found = "sha256:" + await transfers.fetch(MANIFEST, model.manifest_url, partial, MAX_MANIFEST_BYTES)
            if found != self.digest:
                raise ModelUnusable(
                    f"{MANIFEST} has the digest {found}, not {self.digest}: publish the model again, or order the "
                    f"digest that is published."
                )
            partial.replace(path)
        try:
            return Manifest.from_bytes(path.read_bytes(), MANIFEST)
        except BrokenManifest as error:
            raise ModelUnusable(str(error)) from None

    async def _files(
        self, manifest: Manifest, model: OrderedModel, transfers: Transfers, on_percent: Callable[[int], None]
    ) -> None:
        urls = {offered.file.name: offered.url for offered in model.files}
        total, there = max(sum(file.bytes for file in manifest.files), 1), 0

        def on_bytes(more: int) -> None:
            nonlocal there
            there += more
            on_percent(min(100 * there // total, 100))

        try:
            async with asyncio.TaskGroup() as group:
                for file in manifest.files:
                    group.create_task(self._file(file, urls.get(file.name), transfers, on_bytes))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _file(self, file: ManifestFile, url: str | None, transfers: Transfers, on_bytes: OnBytes) -> None:
        check_name(file.name)
        path = self._folder / file.name
        known = file.name in self._verified
        if path.exists() and (known or await asyncio.to_thread(sha256_of, path) == file.sha256):
            self._verified.add(file.name)
            on_bytes(file.bytes)
            return
        if url is None:
            raise ModelUnusable(f"the order has no URL for {file.name}: include every file of the manifest.")
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        await fetch_file(transfers, file.name, url, partial, file.bytes, on_bytes)
        await asyncio.to_thread(check_file, partial, file)
        partial.replace(path)
        self._verified.add(file.name)


def _digest_of(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()

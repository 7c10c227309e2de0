"""Transfers of files over presigned URLs.

A presigned URL is a secret, since it carries a signature: errors and logs name the file only.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from kinema_api import layout
from kinema_api.errors import StoreUnusable
from kinema_api.storehttp import CALL_SECONDS, MIN_BYTES_PER_SECOND, tls_context
from kinema_api.wire import OrderedInput, UploadedFile
from kinema_jobs.errors import FileUnusable, TransferFailed
from kinema_jobs.serve.settings import ServerSettings

log = logging.getLogger(__name__)

CHUNK: Final = 1 << 20
_TRANSIENT: Final = {408, 425, 429, 500, 502, 503, 504}
_OK: Final = {200, 201, 204, 206}

T = TypeVar("T")


class _TryAgain(Exception):
    """A temporary failure; the message says which."""


class NoRanges(Exception):
    """The store answers a request for a part of an object with the whole of it."""


class Transfers:
    """Downloads and uploads with retries: a short outage of the object store costs its duration only."""

    def __init__(self, session: aiohttp.ClientSession, settings: ServerSettings) -> None:
        self._session = session
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.parallel_transfers)
        self._tls: ssl.SSLContext | bool = True

    def trusting(self, ca_bundle: str | None) -> Transfers:
        """The same transfers, which also trust the CA certificates in `ca_bundle`.

        Raises:
            TransferFailed: `ca_bundle` holds no certificate.
        """
        if ca_bundle is None:
            return self
        made = copy.copy(self)
        try:
            made._tls = tls_context(ca_bundle)
        except StoreUnusable as error:
            raise TransferFailed(f"{error}.") from None
        return made

    async def fetch(
        self, name: str, url: str, target: Path, limit: int, remedy: str = "publish the model again"
    ) -> str:
        """Download into `target`, at most `limit` bytes; returns the sha256 in hex.

        Raises:
            TransferFailed: it cannot be downloaded now.
            FileUnusable: it is longer than promised, or does not exist; `remedy` ends the message.
        """
        return await self._patiently(name, lambda: self._fetch_once(name, url, target, limit, remedy))

    async def fetch_range(self, name: str, url: str, file: int, first: int, length: int) -> None:
        """Write the `length` bytes from byte `first` on to the same place of the file with this descriptor.

        Raises:
            TransferFailed: they cannot be downloaded now.
            FileUnusable: the object ends before them, or does not exist.
            NoRanges: the store reads no ranges.
        """
        await self._patiently(name, lambda: self._fetch_range_once(name, url, file, first, length))

    async def fetch_input(self, given: OrderedInput, target: Path) -> None:
        """Download an input of a request.

        Raises:
            TransferFailed: it cannot be downloaded now.
            FileUnusable: it does not match the order.
        """
        trusting = self.trusting(given.ca_bundle)
        digest = await trusting.fetch(given.name, given.url, target, given.bytes, "upload it again, then ask again")
        if given.sha256 is not None and digest != given.sha256:
            raise FileUnusable(f"the {given.name} has changed since it was rendered: use another clip.")

    async def upload(self, name: str, url: str, source: Path) -> UploadedFile:
        """Upload a file whole. Raises `TransferFailed`."""
        data = await asyncio.to_thread(source.read_bytes)
        await self._patiently(name, lambda: self._upload_once(name, url, data))
        return UploadedFile(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))

    async def _fetch_once(self, name: str, url: str, target: Path, limit: int, remedy: str) -> str:
        digest, length = hashlib.sha256(), 0
        async with (
            asyncio.timeout(_seconds(limit)),
            self._session.get(URL(url, encoded=True), allow_redirects=False, ssl=self._tls) as response,
        ):
            if response.status == 404:
                raise FileUnusable(f"{name} does not exist in the object store: {remedy}.")
            _check(name, "fetched", response.status)
            with target.open("wb") as out:
                async for chunk in response.content.iter_chunked(CHUNK):
                    length += len(chunk)
                    if length > limit:
                        raise FileUnusable(f"{name} is longer than the {limit} bytes promised: {remedy}.")
                    digest.update(chunk)
                    out.write(chunk)
        return digest.hexdigest()

    async def _fetch_range_once(self, name: str, url: str, file: int, first: int, length: int) -> None:
        at, end = first, first + length
        async with (
            asyncio.timeout(_seconds(length)),
            self._session.get(
                URL(url, encoded=True),
                headers={"Range": f"bytes={first}-{end - 1}"},
                allow_redirects=False,
                ssl=self._tls,
            ) as response,
        ):
            if response.status in (404, 416):
                raise FileUnusable(f"{name} is not in the object store as promised: publish the model again.")
            if response.status == 200:
                raise NoRanges
            _check(name, "fetched", response.status)
            async for chunk in response.content.iter_chunked(CHUNK):
                await asyncio.to_thread(os.pwrite, file, chunk[: end - at], at)
                at = min(at + len(chunk), end)
        if at < end:
            raise _TryAgain("the answer ended early")

    async def _upload_once(self, name: str, url: str, data: bytes) -> None:
        kind = layout.ARTEFACTS.get(name)
        headers = {"Content-Type": kind.content_type if kind else "application/octet-stream"}
        async with (
            asyncio.timeout(_seconds(len(data))),
            self._session.put(
                URL(url, encoded=True), data=data, headers=headers, allow_redirects=False, ssl=self._tls
            ) as response,
        ):
            _check(name, "uploaded", response.status)

    async def _patiently(self, name: str, once: Callable[[], Awaitable[T]]) -> T:
        settings = self._settings
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.transfer_patience_seconds
        wait = settings.retry_initial_seconds
        while True:
            try:
                async with self._slots:
                    return await once()
            except aiohttp.ClientConnectorCertificateError as error:
                raise TransferFailed(
                    f"{name}: the object store's certificate is not trusted (TLS, "
                    f"{type(error.certificate_error).__name__}); set its CA certificate as caBundle."
                ) from None
            except (_TryAgain, aiohttp.ClientError, TimeoutError) as error:
                reason = str(error) if isinstance(error, _TryAgain) else type(error).__name__
            if loop.time() + wait > deadline:
                raise TransferFailed(
                    f"{name}: the object store does not respond ({reason}); check the store, then try again."
                )
            log.warning("%s: %s; trying again in %.1f s", name, reason, wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, settings.retry_max_seconds)


def _seconds(payload: int) -> float:
    """Limit of one transfer: a store that sends a byte now and then never hits the time-out for silence."""
    return CALL_SECONDS + payload / MIN_BYTES_PER_SECOND


def _check(name: str, done: str, status: int) -> None:
    if status in _TRANSIENT:
        raise _TryAgain(f"status {status}")
    if 300 <= status < 400:
        raise TransferFailed(
            f"{name} cannot be {done}: the object store redirects (status {status}), and redirects are not followed; "
            "name the store's own endpoint."
        )
    if status not in _OK:
        raise TransferFailed(
            f"{name} cannot be {done} (status {status}): its presigned URL may have expired; start another attempt."
        )


def client_session(settings: ServerSettings) -> aiohttp.ClientSession:
    """A session with time-outs for connecting and for silence; the limit of a transfer depends on its length."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_seconds, sock_read=settings.stall_seconds
        ),
        auto_decompress=False,
    )

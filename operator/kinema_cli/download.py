"""Fetches what a status names, and keeps it only if it is what the status says."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import urllib3

from kinema_cli.errors import CommandError

CHUNK: Final = 1 << 20
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 60.0
TRIES: Final = 4


def fetch(url: str, path: Path, sha256: str) -> None:
    """Download to `path`, which appears only when its digest is right.

    Raises:
        CommandError: it cannot be had, or is not what the status names. The signed address is never repeated.
    """
    host = urlsplit(url).netloc
    partial = path.with_name(f"{path.name}.partial")
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=urllib3.Retry(total=TRIES, backoff_factor=0.2, status_forcelist=[429, 500, 502, 503, 504]),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = _stream(pool, url, host, partial)
        if digest != sha256:
            raise CommandError(f"{path}: the bytes from {host} are not those that status names; try again")
        partial.replace(path)
    except urllib3.exceptions.HTTPError as error:
        raise CommandError(
            f"{host} does not answer ({type(error).__name__}); check that the store's publicEndpoint opens from here"
        ) from None
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}); choose another --out") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _stream(pool: urllib3.PoolManager, url: str, host: str, partial: Path) -> str:
    digest = hashlib.sha256()
    answer = pool.request("GET", url, preload_content=False, redirect=False)
    try:
        if answer.status != 200:
            raise CommandError(
                f"{host} refuses the download (status {answer.status}); the signed address may have expired, "
                f"ask for the clip's status again"
            )
        with partial.open("wb") as out:
            for chunk in answer.stream(CHUNK):
                digest.update(chunk)
                out.write(chunk)
    finally:
        answer.release_conn()
    return digest.hexdigest()

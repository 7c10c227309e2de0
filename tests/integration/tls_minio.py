"""A real MinIO that is reached by TLS alone, with a certificate of an authority that no system knows."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import urllib3
from minio import Minio

from cluster.pki import Pki
from cluster.ports import free_port
from conftest import binary
from kinema_api.objectstore import StoreCredentials

KEYS = StoreCredentials(access_key="kinema-test", secret_key="kinema-test-secret")


@dataclass(frozen=True)
class PrivateStore:
    """Where it is, and which authority its certificate comes from."""

    endpoint: str
    pki: Pki

    @property
    def authority(self) -> Path:
        """File with the authority's certificate."""
        return self.pki.certificate("ca")

    @property
    def ca_bundle(self) -> str:
        """The authority's certificate in PEM."""
        return self.authority.read_text()

    @property
    def stranger(self) -> str:
        """Certificate of an authority that has signed nothing here."""
        self.pki.ensure_authority("stranger")
        return self.pki.certificate("stranger").read_text()

    @cached_property
    def client(self) -> Minio:
        """The test's own way to it."""
        return Minio(
            endpoint=self.endpoint.removeprefix("https://"),
            access_key=KEYS.access_key,
            secret_key=KEYS.secret_key,
            http_client=urllib3.PoolManager(ca_certs=str(self.authority)),
        )

    def make_bucket(self, name: str) -> None:
        """Make the bucket unless it is there."""
        if not self.client.bucket_exists(bucket_name=name):
            self.client.make_bucket(bucket_name=name)


@contextmanager
def private_minio(folder: Path) -> Iterator[PrivateStore]:
    """MinIO for as long as the context lasts."""
    pki = Pki(folder / "pki")
    pki.ensure_authority()
    pki.ensure_server("minio", ["IP:127.0.0.1"])
    certificates = folder / "certificates"
    certificates.mkdir()
    (certificates / "public.crt").write_bytes(pki.certificate("minio").read_bytes())
    (certificates / "private.key").write_bytes(pki.key("minio").read_bytes())
    port = free_port()
    made = PrivateStore(f"https://127.0.0.1:{port}", pki)
    command = [str(binary("minio")), "server", "--certs-dir", str(certificates)]
    process = subprocess.Popen(
        [*command, "--address", f"127.0.0.1:{port}", str(folder / "data")],
        env={**os.environ, "MINIO_ROOT_USER": KEYS.access_key, "MINIO_ROOT_PASSWORD": KEYS.secret_key},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(made, process)
        yield made
    finally:
        process.terminate()
        process.wait(10)


def _wait(store: PrivateStore, process: subprocess.Popen[bytes]) -> None:
    trusting = ssl.create_default_context(cafile=str(store.authority))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"MinIO ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"{store.endpoint}/minio/health/cluster", timeout=1, context=trusting):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail("MinIO did not answer within 60 s")

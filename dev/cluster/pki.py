"""Certificates of one cluster, made with openssl: elliptic keys, so that a whole set takes a second."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .command import run

DAYS = "365"
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True)
class Pki:
    """A certificate authority in a folder, and what it signed. Everything is made once and then found."""

    folder: Path

    def certificate(self, name: str) -> Path:
        """Path of the certificate `name`."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Path of the private key `name`."""
        return self.folder / f"{name}.key"

    def ensure_authority(self, name: str = "ca") -> None:
        """Make the authority `name` unless it is there."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.certificate(name).exists():
            return
        paths: list[str | Path] = ["-keyout", self.key(name), "-out", self.certificate(name)]
        subject = ["-subj", f"/CN=kinema-development-{name}", "-days", DAYS]
        run(["openssl", "req", "-x509", *CURVE, "-nodes", *paths, *subject])

    def ensure_signing_key(self, name: str = "service-account") -> None:
        """Make the key pair that signs service-account tokens unless it is there."""
        if (self.folder / f"{name}.pub").exists():
            return
        curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        run(["openssl", "genpkey", *curve, "-out", self.key(name)])
        run(["openssl", "pkey", "-in", self.key(name), "-pubout", "-out", self.folder / f"{name}.pub"])

    def ensure_server(self, name: str, alternative_names: list[str]) -> None:
        """Make a serving certificate for names written as "DNS:x" or "IP:y" unless it is there."""
        self._sign(name, f"/CN={name}", f"subjectAltName={','.join(alternative_names)}")

    def ensure_client(self, name: str, *, user: str, group: str | None = None, authority: str = "ca") -> None:
        """Make a client certificate by which the API server knows `user` (and `group`) unless it is there."""
        subject = f"/O={group}/CN={user}" if group else f"/CN={user}"
        self._sign(name, subject, "extendedKeyUsage=clientAuth", authority)

    def _sign(self, name: str, subject: str, extension: str, authority: str = "ca") -> None:
        if self.certificate(name).exists():
            return
        request = self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(extension)
        run(["openssl", "req", *CURVE, "-nodes", "-keyout", self.key(name), "-out", request, "-subj", subject])
        signer: list[str | Path] = [
            "-CA",
            self.certificate(authority),
            "-CAkey",
            self.key(authority),
            "-CAcreateserial",
        ]
        partial = self.folder / f"{name}.crt.partial"
        arguments: list[str | Path] = [
            "-req",
            "-in",
            request,
            "-days",
            DAYS,
            "-extfile",
            extensions,
            "-out",
            partial,
        ]
        run(["openssl", "x509", *arguments, *signer])
        request.unlink()
        extensions.unlink()
        partial.rename(self.certificate(name))

    def kubeconfig(self, name: str, server: str) -> dict[str, Any]:
        """A kubeconfig for the client certificate `name`; everything is embedded, so it can be copied."""
        cluster = {"server": server, "certificate-authority-data": _base64(self.certificate("ca"))}
        user = {
            "client-certificate-data": _base64(self.certificate(name)),
            "client-key-data": _base64(self.key(name)),
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "kinema", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "kinema", "context": {"cluster": "kinema", "user": name}}],
            "current-context": "kinema",
        }

    def write_kubeconfig(self, path: Path, name: str, server: str) -> None:
        """Write that kubeconfig to `path`, readable by its owner alone."""
        # JSON is YAML, and the tool needs no package to write or read it.
        text = json.dumps(self.kubeconfig(name, server), indent=1)
        if path.exists() and path.read_text() == text:
            return
        path.touch(mode=0o600)
        path.write_text(text)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()

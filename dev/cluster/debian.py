"""Debian packages the cluster needs; installs only what is missing and starts no service of theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ClusterError
from .progress import part

# Package -> a file that shows it is there, whoever brought it.
PROBES = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iproute2": "ip",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "socat": "socat",
    "ethtool": "ethtool",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "mmdebstrap": "mmdebstrap",
    "buildah": "buildah",
}
POLICY = Path("/usr/sbin/policy-rc.d")


def missing_packages() -> list[str]:
    """Packages none of whose programs is on this machine."""
    return [name for name, probe in PROBES.items() if shutil.which(probe) is None and not Path(probe).exists()]


def install_missing() -> None:
    """Install what is missing with apt-get.

    Raises:
        ClusterError: no apt-get here, or it failed.
    """
    packages = missing_packages()
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(f"This machine lacks {', '.join(packages)} and has no apt-get; install them by hand.")
    with part(f"Debian packages {' '.join(packages)}"), _services_stay_off():
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *packages)


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {result.stderr.strip()[-800:]}")


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Debian starts a package's service on installation unless this policy file says no."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()

"""Every version this tool builds, in one place, so that an upgrade is one line."""

from __future__ import annotations

import re

from .errors import ClusterError

KUBERNETES_DEFAULT = "1.34.4"
KUBERNETES_FLOOR = (1, 31)

ETCD = "v3.6.5"
COREDNS = "v1.15.0"
# Upstream no longer releases: the last commit, as the pseudo-version the Go module proxy knows it by.
MINIO = "v0.0.0-20260212201848-7aac2a2c5b7c"
HELM = "v3.19.0"
KIND = "v0.30.0"
KWOK = "v0.7.0"
ACTIONLINT = "v1.7.12"
COSIGN = "v2.6.5"
PAUSE = "1"

# The highest `go` directive among the modules above (CoreDNS asks for it).
GO_FLOOR = (1, 26)


def kubernetes_version(text: str) -> str:
    """Return `text` as a plain MAJOR.MINOR.PATCH.

    Raises:
        ClusterError: not a version, or below what Kinema supports.
    """
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    if not match:
        raise ClusterError(f"K8S={text!r} is not a version; write it as {KUBERNETES_DEFAULT}.")
    if (int(match[1]), int(match[2])) < KUBERNETES_FLOOR:
        floor = ".".join(map(str, KUBERNETES_FLOOR))
        raise ClusterError(f"Kubernetes {text} is older than {floor}; choose a newer one with K8S=<version>.")
    return ".".join(match.groups())

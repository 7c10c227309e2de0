"""Which cluster a machine gets: that of KUBECONFIG if asked for, kind with Docker, else one of our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .errors import ClusterError
from .existing import ExistingCluster
from .kind import KindCluster, docker_answers
from .native import NativeCluster
from .settings import Settings


class Cluster(Protocol):
    """What every kind of cluster can do."""

    def up(self) -> None:
        """Bring it up, or check that it is."""

    def down(self) -> None:
        """Take away what `up` made."""

    def load(self, archive: Path) -> None:
        """Load an image archive into every node."""


def choose_cluster(settings: Settings) -> Cluster:
    """The cluster that is up or, if none is, the kind that KINEMA_CLUSTER and the machine suggest.

    Raises:
        ClusterError: one of another kind than KINEMA_CLUSTER names is up.
    """
    kind = settings.claimed_kind() or settings.kind
    if kind == "auto":
        kind = "kind" if docker_answers() else "native"
    if settings.kind not in ("auto", kind):
        raise ClusterError(f"A {kind} cluster is up and KINEMA_CLUSTER={settings.kind}; take it down first.")
    clusters: dict[str, Callable[[Settings], Cluster]] = {
        "kubeconfig": ExistingCluster,
        "kind": KindCluster,
        "native": NativeCluster,
    }
    return clusters[kind](settings)


def native_cluster(settings: Settings) -> NativeCluster:
    """The cluster of our own, for verbs that look into its parts.

    Raises:
        ClusterError: the cluster is of another kind.
    """
    cluster = choose_cluster(settings)
    if not isinstance(cluster, NativeCluster):
        raise ClusterError("This verb looks into a cluster of our own; use kubectl with this one.")
    return cluster

"""The control plane: etcd, API server, controller manager and scheduler as plain processes of the machine.

Only command lines are decided here; the full cluster and the API-server-only fixture share them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .pki import Pki

SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
AUDIT_MEGABYTES = 200
AUDIT_BACKUPS = 2

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version", "/metrics"]},
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class ControlPlane:
    """Where one control plane listens, keeps its state, and finds its programs."""

    folder: Path
    address: str
    port: int
    etcd_port: int
    etcd_peer_port: int
    binary: Callable[[str], Path]
    on_loopback: bool = False

    @property
    def pki(self) -> Pki:
        """Certificates of this control plane."""
        return Pki(self.folder / "pki")

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.address}:{self.port}"

    @property
    def audit_log(self) -> Path:
        """Where the API server writes its audit events."""
        return self.folder / "audit" / "audit.log"

    def component_kubeconfig(self, name: str) -> Path:
        """Kubeconfig of one component."""
        return self.folder / "kubeconfigs" / f"{name}.kubeconfig"

    def prepare(self, clients: dict[str, tuple[str, str | None]]) -> None:
        """Make missing certificates, kubeconfigs (`clients`: name -> user, group) and the audit policy."""
        pki = self.pki
        pki.ensure_authority()
        pki.ensure_authority("front-proxy-ca")
        pki.ensure_signing_key()
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        addresses = sorted({self.address, "127.0.0.1", API_SERVICE_ADDRESS})
        pki.ensure_server("kube-apiserver", [f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses])
        pki.ensure_client("front-proxy", user="front-proxy-client", authority="front-proxy-ca")
        pki.ensure_client("kubelet-client", user="kube-apiserver-kubelet-client", group="system:masters")
        self.component_kubeconfig("x").parent.mkdir(parents=True, exist_ok=True)
        for name, (user, group) in clients.items():
            pki.ensure_client(name, user=user, group=group)
            pki.write_kubeconfig(self.component_kubeconfig(name), name, self.server)
        self.audit_log.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "audit" / "policy.json").write_text(json.dumps(AUDIT_POLICY))

    def etcd(self) -> list[str | Path]:
        """Command line of etcd. Not synced to disk: losing the machine loses the cluster, by intention."""
        client = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{self.etcd_peer_port}"
        return [
            self.binary("etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def apiserver(self) -> list[str | Path]:
        """Command line of the API server."""
        pki = self.pki
        return [
            self.binary("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={pki.certificate('kube-apiserver')}",
            f"--tls-private-key-file={pki.key('kube-apiserver')}",
            f"--client-ca-file={pki.certificate('ca')}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki.folder / 'service-account.pub'}",
            f"--service-account-signing-key-file={pki.key('service-account')}",
            f"--kubelet-client-certificate={pki.certificate('kubelet-client')}",
            f"--kubelet-client-key={pki.key('kubelet-client')}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={pki.certificate('front-proxy-ca')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki.certificate('front-proxy')}",
            f"--proxy-client-key-file={pki.key('front-proxy')}",
            f"--audit-policy-file={self.folder / 'audit' / 'policy.json'}",
            f"--audit-log-path={self.audit_log}",
            f"--audit-log-maxsize={AUDIT_MEGABYTES}",
            f"--audit-log-maxbackup={AUDIT_BACKUPS}",
            *self._endpoint_flags(),
        ]

    def _endpoint_flags(self) -> list[str]:
        # A loopback address may not be advertised, and nothing in that form of the cluster looks for it.
        if self.on_loopback:
            return ["--endpoint-reconciler-type=none"]
        # No kube-proxy runs beside the API server, so it calls webhooks by pod address.
        return ["--enable-aggregator-routing=true"]

    def controller_manager(self) -> list[str | Path]:
        """Command line of the controller manager, with Kubernetes' default node timings."""
        pki = self.pki
        return [
            self.binary("kube-controller-manager"),
            f"--kubeconfig={self.component_kubeconfig('controller-manager')}",
            f"--service-account-private-key-file={pki.key('service-account')}",
            f"--root-ca-file={pki.certificate('ca')}",
            f"--cluster-signing-cert-file={pki.certificate('ca')}",
            f"--cluster-signing-key-file={pki.key('ca')}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            *self._serving_flags(),
        ]

    def scheduler(self) -> list[str | Path]:
        """Command line of the scheduler."""
        kubeconfig = self.component_kubeconfig("scheduler")
        flags = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", *self._serving_flags()]
        return [self.binary("kube-scheduler"), *flags]

    def _serving_flags(self) -> list[str]:
        return ["--secure-port=0"] if self.on_loopback else ["--bind-address=127.0.0.1"]

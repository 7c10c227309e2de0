"""Only etcd and an API server (on request a controller manager too) on loopback, for integration tests.

Runs beside a full cluster: ports are free ones, state is in a folder of the caller, and nothing needs root.

    with ApiServer(folder) as server:
        ... server.kubeconfig, server.audit_log
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

from .build import API_ONLY, binary_path, ensure_binaries
from .controlplane import ControlPlane
from .errors import ClusterError
from .kubeapi import KubeApi
from .ports import free_ports
from .progress import await_condition
from .settings import Settings

START_SECONDS = 60.0
STOP_SECONDS = 10.0
# A test run that is killed must not leave servers behind.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
CLIENTS: dict[str, tuple[str, str | None]] = {
    "admin": ("kinema-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
}


class ApiServer(AbstractContextManager["ApiServer"]):
    """A real API server for as long as the context lasts.

    Args:
        folder: an empty folder for state, logs and the kubeconfig.
        port: port of the API server; 0 takes a free one.
        controller_manager: also run the controller manager (garbage collection, Jobs, Deployments).
        settings: where binaries lie and which version to run; the environment's by default.

    Attributes:
        kubeconfig: administrator's kubeconfig.
        audit_log: audit events, one JSON object a line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        controller_manager: bool = False,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or Settings.from_environment()
        self._folder = folder.absolute()
        self._with_controller_manager = controller_manager
        self._running = ExitStack()
        api_port, etcd_port, peer_port = free_ports(3)
        self._plane = ControlPlane(
            folder=self._folder,
            address="127.0.0.1",
            port=port or api_port,
            etcd_port=etcd_port,
            etcd_peer_port=peer_port,
            binary=lambda name: binary_path(self._settings, name),
            on_loopback=True,
        )
        self.kubeconfig = self._folder / "admin.kubeconfig"
        self.audit_log = self._plane.audit_log

    def __enter__(self) -> ApiServer:
        """Start everything and wait until the API server is ready.

        Raises:
            ClusterError: it did not become ready; quotes the log.
        """
        ensure_binaries(self._settings, API_ONLY)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._plane.prepare(CLIENTS)
        self._plane.pki.write_kubeconfig(self.kubeconfig, "admin", self._plane.server)
        try:
            self._start("etcd", self._plane.etcd())
            server = self._start("kube-apiserver", self._plane.apiserver())
            self._await_ready(server)
            if self._with_controller_manager:
                self._start("kube-controller-manager", self._plane.controller_manager())
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything; the folder stays for whoever wants to read the logs."""
        self._running.close()

    def _start(self, name: str, argv: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*DIE_WITH_PARENT, *(str(word) for word in argv)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                # An interrupt from the keyboard is for us alone; we stop these in order.
                start_new_session=True,
            )
        self._running.callback(_stop, process)
        return process

    def _await_ready(self, server: subprocess.Popen[bytes]) -> None:
        api = KubeApi(self.kubeconfig)
        settled = await_condition(lambda: api.ready() or server.poll() is not None, START_SECONDS)
        if not settled or server.poll() is not None:
            log = self._folder / "kube-apiserver.log"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ClusterError(f"The API server did not become ready; see {log}, which ends with:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

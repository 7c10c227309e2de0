"""An agent's place in the group: a connection held open by a thread, and the lease that it carries.

The lease is a deadline on the machine's monotonic clock: the worker may run until then. It counts from the time at
which the last answered heartbeat was sent. It is shorter than the time after which the service gives a member up, so a
member that is cut off from the service has stopped by then.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kinema_api import names
from kinema_jobs.rendezvous.errors import (
    RendezvousFinished,
    RendezvousRefused,
    RendezvousUnreachable,
)
from kinema_jobs.rendezvous.questions import Place, decode, encode
from kinema_jobs.rendezvous.settings import MemberSettings

logger = logging.getLogger(__name__)
_WAIT_SLICE: Final = 0.5


@dataclass(frozen=True)
class Notice:
    """The round is to end."""

    reason: str
    planned: bool
    """True: at a step boundary, with a checkpoint; False: at once."""


class Membership:
    """One agent's side of the rendezvous. Methods are called from the agent's main thread."""

    def __init__(
        self,
        endpoint: str,
        run_id: str,
        name: str,
        settings: MemberSettings | None = None,
        on_lease: Callable[[float], None] = lambda deadline: None,
    ) -> None:
        self.endpoint = endpoint
        self.run_id = run_id
        self._name = name
        self._settings = settings or MemberSettings()
        self._on_lease = on_lease
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._id = ""
        self._at = ""
        self._notice: Notice | None = None
        self._answer: dict[str, Any] | None = None
        self._seen = 0
        self._number = 0
        self._heard: float | None = None
        self._lease: float | None = None
        self._sending = threading.Lock()

    def join(self, address: str, slots: int, abandoned: Callable[[], bool] = lambda: False) -> Place | None:
        """Wait for a round; the caller's worker must have stopped. None if `abandoned` becomes true meanwhile.

        Raises:
            RendezvousFinished: the run is done.
            RendezvousRefused: the service serves another run.
            RendezvousUnreachable: nobody answered within `patience_seconds`.
        """
        last_contact = time.monotonic()
        with self._changed:
            self._heard = self._heard or last_contact
        while not abandoned():
            try:
                self._ask_for_place(address, slots)
                last_contact = time.monotonic()
                place = self._await_place(abandoned)
                if place is not None:
                    return place
            except OSError as error:
                self._hang_up()
                if time.monotonic() - last_contact > self._settings.patience_seconds:
                    raise RendezvousUnreachable(
                        f"the rendezvous at {self.endpoint} did not respond for {self._settings.patience_seconds:g} s "
                        f"({error}): check that the rendezvous pod runs and that its port is open"
                    ) from None
                time.sleep(self._settings.retry_seconds)
        return None

    def silent_seconds(self) -> float | None:
        """Seconds since the service last answered, or since the first attempt to reach it; None: none was made yet."""
        with self._changed:
            return None if self._heard is None else time.monotonic() - self._heard

    def lease_seconds(self) -> float | None:
        """Seconds that a worker runs without the service, as the last reached service said; None: none was reached."""
        with self._changed:
            return self._lease

    def notice(self) -> Notice | None:
        """Why the current round is to end; None: it goes on."""
        with self._changed:
            return self._notice

    def await_notice(self, seconds: float) -> Notice | None:
        """Like `notice`, waiting that long for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._notice is not None, seconds)
            return self._notice

    def leaving(self) -> None:
        """Tell the service that this member leaves at its round's next step boundary."""
        self._tell({"op": "leaving"})

    def leave(self) -> None:
        """Leave the group; the worker has stopped."""
        self._tell({"op": "leave"})
        self._hang_up()

    # The connection.

    def _ask_for_place(self, address: str, slots: int) -> None:
        if self._socket is None:
            self._connect()
        with self._changed:
            self._notice = self._answer = None
            self._number = 0
        self._send({"op": "wait", "address": address, "slots": slots, "seen": self._seen})

    def _connect(self) -> None:
        host, _, port = self.endpoint.rpartition(":")
        connection = _reach(host, int(port), self._settings.connect_seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._id = f"{self._name}.{secrets.token_hex(3)}"
        address, number = connection.getpeername()[:2]
        self._at = f"{address}:{number}"
        lines = connection.makefile("rb")
        started = time.monotonic()
        connection.sendall(encode({"op": "hello", "runId": self.run_id, "id": self._id}))
        welcome = decode(lines.readline())
        if welcome.get("type") == "refused":
            connection.close()
            raise RendezvousRefused(str(welcome["error"]))
        lost = float(welcome["lost"])
        connection.settimeout(lost)
        pulse = _Pulse(float(welcome["heartbeat"]), lost * names.LEASE_SHARE, started)
        with self._changed:
            self._socket, self._lease = connection, pulse.lease
        self._renew(connection, pulse)
        threading.Thread(target=self._read, args=(connection, lines, pulse), daemon=True).start()
        threading.Thread(target=self._beat, args=(connection, pulse), daemon=True).start()

    def _beat(self, connection: socket.socket, pulse: _Pulse) -> None:
        while self._socket is connection:
            pulse.sent.append(time.monotonic())
            try:
                self._send({"op": "ping"}, connection)
            except OSError:
                return
            if time.monotonic() > pulse.deadline:
                # Without answers this member counts as lost: close the connection so that the service sees the same.
                self._broken(connection, f"no heartbeat was answered for {pulse.lease:g} s")
                return
            time.sleep(pulse.interval)

    def _read(self, connection: socket.socket, lines: Any, pulse: _Pulse) -> None:
        reason = "the connection to the rendezvous broke"
        try:
            while line := lines.readline():
                message = json.loads(line)
                if message["type"] == "pong":
                    pulse.answered()
                    self._renew(connection, pulse)
                elif message["type"] == "stale":
                    reason = str(message["error"])
                    break
                else:
                    self._received(connection, message)
        except (OSError, ValueError) as error:
            reason = f"{reason}: {error}"
        self._broken(connection, reason)

    def _received(self, connection: socket.socket, message: dict[str, Any]) -> None:
        with self._changed:
            if self._socket is not connection:
                return
            if message["type"] == "reform":
                if message["number"] != self._number:
                    return  # of the round that this member has just left
                self._notice = Notice(str(message["reason"]), bool(message["planned"]))
            else:
                self._answer = message
                self._number = int(message.get("number", 0))
            self._changed.notify_all()

    def _renew(self, connection: socket.socket, pulse: _Pulse) -> None:
        with self._changed:
            if self._socket is connection:
                self._heard = time.monotonic()
                self._on_lease(pulse.deadline)

    def _broken(self, connection: socket.socket, reason: str) -> None:
        with self._changed:
            if self._socket is not connection:
                return
            self._socket = None
            self._on_lease(0.0)
            self._notice = Notice(reason, planned=False)
            self._changed.notify_all()
        _close(connection)

    def _hang_up(self) -> None:
        with self._changed:
            connection, self._socket = self._socket, None
            self._on_lease(0.0)
        if connection:
            _close(connection)

    def _await_place(self, abandoned: Callable[[], bool]) -> Place | None:
        """The place in the next round; None when abandoned.

        Raises:
            ConnectionError: the connection broke while waiting.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._answer or self._socket is None, _WAIT_SLICE):
                if abandoned():
                    return None
            answer = self._answer
            if answer is None:
                raise ConnectionError(self._notice.reason if self._notice else "the connection was closed")
        if answer["type"] == "finished":
            raise RendezvousFinished("the run's final manifest is committed: nothing is left to train")
        if answer["type"] != "round":
            raise RendezvousRefused(str(answer.get("error", answer)))
        self._seen = max(self._seen, int(answer["number"]))
        fields = {key: answer[key] for key in ("number", "token", "rank", "nodes", "base", "world", "store")}
        # A service of an older version sends no name: only the token identifies its rounds.
        service, generation = answer.get("service", answer["token"]), answer.get("generation", 0)
        return Place(run_id=self.run_id, member=self._id, service=service, generation=generation, at=self._at, **fields)

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._send(message)
        except OSError:
            logger.info("lost the rendezvous before sending %s", message["op"])

    def _send(self, message: dict[str, Any], connection: socket.socket | None = None) -> None:
        connection = connection or self._socket
        if connection is None:
            raise ConnectionError("not connected to the rendezvous")
        with self._sending:
            connection.sendall(encode(message))


class _Pulse:
    """Heartbeats without an answer yet, and the deadline that the last answered one gives the worker."""

    def __init__(self, interval: float, lease: float, started: float) -> None:
        self.interval = interval
        self.lease = lease
        self.deadline = started + lease
        self.sent: list[float] = []

    def answered(self) -> None:
        """Answers come in the order of the questions."""
        self.deadline = max(self.deadline, self.sent.pop(0) + self.lease)


def _reach(host: str, port: int, seconds: float) -> socket.socket:
    """A connection to any address of `host`, in random order. Until Kubernetes notices that a node is lost, the name
    stands for the lost rendezvous pod and its successor: with several addresses, each gets a share of the time.

    Raises:
        OSError: no address takes a connection, or the name is not known.
    """
    addresses = [found[4] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    random.shuffle(addresses)
    failure = OSError(f"{host} has no address")
    for address in addresses:
        try:
            return socket.create_connection((str(address[0]), int(address[1])), timeout=seconds / len(addresses))
        except OSError as error:
            failure = error
    raise failure


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()

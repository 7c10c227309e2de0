"""HTTP to an untrusted object store: responses and calls are limited in size and time, redirects are refused.

urllib3's timeouts are per read, so a store that sends a byte now and then never exceeds them. So each call has a
`Budget`, and one thread shuts down the connections of calls that have exceeded it, even if they block in a system call.
"""

from __future__ import annotations

import contextlib
import heapq
import io
import itertools
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError
from urllib3.response import BaseHTTPResponse, HTTPResponse

from kinema_api.addresses import LAST
from kinema_api.errors import ObjectTooLarge, StorageUnreachable, StoreUnusable
from kinema_api.forbidden import is_forbidden

CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 20.0
"""Longest wait for the next bytes of a response."""
CALL_SECONDS: Final = 30.0
"""Time limit of a call, plus the time that its payload needs at MIN_BYTES_PER_SECOND."""
MIN_BYTES_PER_SECOND: Final = 128 << 10
"""A slower transfer fails."""
MAX_TRANSFER_SECONDS: Final = 3600.0
"""Most that the Content-Length of a response may add to the time limit of a call."""
MAX_ANSWER_BYTES: Final = 4 << 20
"""Longest response that is not an object: a list of 1,000 keys of 1,024 bytes fits."""
MAX_CA_FILE_BYTES: Final = 4 << 20
"""Longest file of CA certificates: a system's whole bundle fits."""
MAX_REQUESTS: Final = 1000
"""Most requests of one call: pages of a list, parts of a copy."""
_SUCCESS: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)


class Budget:
    """The time limit of one call to a store, as a context manager in the calling thread.

    Raises:
        StorageUnreachable: by `check`, when the time is over.
    """

    def __init__(self, seconds: float = CALL_SECONDS) -> None:
        self.seconds = seconds
        self.requests = 0
        self.ends = time.monotonic() + seconds
        self.spent = False
        self._over = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._outer: Budget | None = None

    @staticmethod
    def current() -> Budget | None:
        """The budget of this thread's call."""
        found = getattr(_LOCAL, "budget", None)
        return found if isinstance(found, Budget) else None

    def extend(self, payload: int, slowest: float = MIN_BYTES_PER_SECOND) -> None:
        """Add the time that `payload` bytes need at `slowest` bytes per second."""
        more = min(payload / slowest, MAX_TRANSFER_SECONDS)
        self.seconds += more
        self.ends += more

    def watch(self, connection: socket.socket) -> None:
        """Shut down this connection when the time is over, or now if it is: urllib3 may reconnect after a shutdown."""
        # Duplicate the descriptor: TLS and http.client may close or detach the original.
        twin = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            if self._over:
                twin.close()
            else:
                self._sockets.append(twin)
        if self.spent:
            self.spend()

    def spend(self) -> None:
        """End the call: the system call in which it blocks fails."""
        with self._lock:
            if self._over:
                return
            self.spent = True
            for twin in self._sockets:
                with contextlib.suppress(OSError):
                    twin.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise if the time is over: a connection that was shut down may look like the end of a response."""
        if self.spent or time.monotonic() > self.ends:
            self.spent = True
            raise StorageUnreachable(f"the response is not complete after {self.seconds:.0f} s")

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self._over

    def __enter__(self) -> Self:
        self._outer = Budget.current()
        _LOCAL.budget = self
        _REAPER.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _LOCAL.budget = self._outer
        with self._lock:
            self._over = True
            twins, self._sockets = self._sockets, []
        for twin in twins:
            twin.close()


class _Reaper:
    """One thread that ends calls whose time is over."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Budget]] = []
        self._tickets = itertools.count()
        self._pid = 0

    def add(self, budget: Budget) -> None:
        """End `budget` when its time is over."""
        with self._changed:
            heapq.heappush(self._heap, (budget.ends, next(self._tickets), budget))
            if self._pid != os.getpid():  # After a fork the child has only the thread that called fork.
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="store-calls", daemon=True).start()
            if self._heap[0][2] is budget:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                _, _, budget = heapq.heappop(self._heap)
                if budget.over:
                    continue
                if budget.ends > time.monotonic():
                    heapq.heappush(self._heap, (budget.ends, next(self._tickets), budget))
                else:
                    budget.spend()


_LOCAL = threading.local()
_REAPER = _Reaper()


class _Watched(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        made = self._connect_to(LAST.instead(self.host))
        peer = str(made.getpeername()[0])
        if is_forbidden(peer):
            made.close()
            raise StoreUnusable(
                f"object store {self.host} has the address {peer}, which is not allowed for a store; correct the "
                "endpoint"
            )
        if budget := Budget.current():
            budget.watch(made)
        LAST.reached(self.host, peer)
        return made

    def _connect_to(self, address: str | None) -> socket.socket:
        """Connect to `address`, or query DNS; to the last known address if DNS does not respond."""
        name = self._dns_host
        if address is None:
            try:
                return super()._new_conn()
            except NameResolutionError as error:
                # DNS did respond: the name does not exist, so its old address must not be used.
                answered = isinstance(error.__cause__, socket.gaierror) and error.__cause__.errno != socket.EAI_AGAIN
                address = None if answered else LAST.unresolved(self.host)
                if address is None:
                    raise
        try:
            self._dns_host = address
            return super()._new_conn()
        finally:
            self._dns_host = name

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None and (budget := Budget.current()):
            budget.watch(self.sock)
        super().request(*args, **kwargs)


class _WatchedTls(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


class WatchedPools(urllib3.PoolManager):
    """Connections whose calls a Budget ends. The caller limits what it reads and refuses redirects.

    Raises:
        StoreUnusable: `ca_bundle` holds no certificate.
    """

    def __init__(self, ca_bundle: str | None = None, **options: Any) -> None:
        if ca_bundle:
            options["ssl_context"] = tls_context(ca_bundle)
        super().__init__(**options)
        self.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class StoreHttp(WatchedPools):
    """HTTP client for minio.

    Raises, in addition to urllib3's errors:
        StorageUnreachable: the call's time is over.
        StoreUnusable: it redirects, or is not an object store.
        ObjectTooLarge: the response is longer than its limit.
    """

    def __init__(self, connections: int = 16, ca_bundle: str | None = None) -> None:
        super().__init__(
            ca_bundle,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS),
            maxsize=connections,
            # Five retries with growing waits, minio's default, would hide an outage for minutes; callers retry.
            retries=urllib3.Retry(total=1, redirect=0, backoff_factor=0.2, status_forcelist=[502, 503, 504]),
        )

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = False, **kw: Any
    ) -> BaseHTTPResponse:
        """Send a request. A response that is not an object is read completely, within its limits."""
        if (budget := Budget.current()) is not None:
            budget.check()
            budget.requests += 1
            if budget.requests > MAX_REQUESTS:
                raise ObjectTooLarge(f"a response of {urlsplit(url).netloc} is too long; delete old objects")
            return self._ask(budget, method, url, **kw)
        # Threads that upload parts of a large file have no budget.
        with Budget() as own:
            own.extend(len(kw.get("body") or b""))
            return self._ask(own, method, url, **kw)

    def _ask(self, budget: Budget, method: str, url: str, preload_content: bool = True, **kw: Any) -> BaseHTTPResponse:
        response = super().urlopen(method, url, redirect=False, preload_content=False, **kw)
        if response.status in _REDIRECTS:
            _refuse_redirect(url, response)
        if response.status in _SUCCESS:
            _require_s3(method, url, preload_content, response)
        if response.status in _SUCCESS and not preload_content:
            return response
        try:
            data = b"".join(bounded(response, MAX_ANSWER_BYTES, f"a response of {urlsplit(url).netloc}"))
        finally:
            response.release_conn()
        budget.check()
        return HTTPResponse(
            body=io.BytesIO(data),
            headers=response.headers,
            status=response.status,
            reason=response.reason,
            request_method=method,
            preload_content=False,
            enforce_content_length=False,
            decode_content=False,
        )


def bounded(response: BaseHTTPResponse, limit: int, what: str, chunk: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a response, undecoded.

    Raises:
        ObjectTooLarge: there are more than `limit`.
        StorageUnreachable: the call's time is over.
    """
    announced = response.headers.get("content-length") or ""
    if announced.isdecimal() and int(announced) > limit and response.length_remaining:
        response.close()
        raise ObjectTooLarge(f"{what} has {announced} bytes, more than the limit of {limit}; make it smaller")
    budget, length = Budget.current(), 0
    for data in response.stream(chunk, decode_content=False):
        length += len(data)
        if length > limit:
            response.close()
            raise ObjectTooLarge(f"{what} has more than the limit of {limit} bytes; make it smaller")
        yield data
        if budget:
            budget.check()


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """A TLS context that trusts the system's CA certificates and those of `ca_bundle` (PEM).

    Raises:
        StoreUnusable: `ca_bundle` holds no certificate.
    """
    context = ssl.create_default_context()
    if ca_bundle:
        try:
            context.load_verify_locations(cadata=ca_bundle)
        except (ssl.SSLError, ValueError) as error:
            raise StoreUnusable(
                f"the store's caBundle is not PEM text of certificates ({type(error).__name__}); copy the whole "
                "certificate"
            ) from None
    return context


def read_ca_file(file: Path) -> str:
    """The CA certificates in a file, for `tls_context`.

    Raises:
        StoreUnusable: it cannot be read, or is too long.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_CA_FILE_BYTES + 1)
        if len(data) <= MAX_CA_FILE_BYTES:
            return data.decode("ascii", errors="ignore")  # PEM is ASCII, comments with names of authorities may not be
        problem = f"it has more than {MAX_CA_FILE_BYTES} bytes"
    except OSError as error:
        problem = type(error).__name__
    raise StoreUnusable(
        f"cannot read the store's CA certificates from {file} ({problem}); give a file of PEM certificates"
    )


def _require_s3(method: str, url: str, whole: bool, response: BaseHTTPResponse) -> None:
    """Refuse web pages of proxies and routers, which have status 200. Every S3 object has an ETag."""
    page = response.headers.get("content-type", "").lower().startswith("text/html")
    known = "etag" in response.headers or (not whole and method == "PUT")
    if known or (whole and not page) or method == "DELETE":
        return
    response.close()
    raise StoreUnusable(
        f"object store {urlsplit(url).netloc} is not an S3 store: it responds with a web page; "
        "give the endpoint of its S3 API, not of its console or of a proxy that requires a login"
    )


def _refuse_redirect(url: str, response: BaseHTTPResponse) -> None:
    region, target = response.headers.get("x-amz-bucket-region"), response.headers.get("location") or ""
    response.close()
    where = f"object store {urlsplit(url).netloc}"
    if region:
        raise StoreUnusable(f"{where}: the bucket is in region {region[:64]!r}; set the store's region to it")
    try:
        host = urlsplit(target).netloc.rpartition("@")[2][:256] or "another address"
    except ValueError:
        host = "an unreadable address"
    raise StoreUnusable(
        f"{where} redirects to {host} (status {response.status}), and redirects are not followed; "
        "name the store's own endpoint"
    )

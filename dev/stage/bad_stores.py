"""Object stores that are broken or hostile: small real HTTP servers on loopback, for tests, benchmarks and chaos.

    with bad_store("dripping") as store:
        ... store.endpoint ... store.hits

Each kind misbehaves in one way and otherwise answers like an empty S3 store with STS. `KINDS` names them all.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

KEYS: Final = {"accessKey": "any-key", "secretKey": "any-secret"}
"""Keys that every bad store accepts."""
HUGE_BYTES: Final = 600 << 20
BLOCK: Final = b"x" * (64 << 10)
DRIP_SECONDS: Final = 0.5
XML: Final = "application/xml"
HTML: Final = b"<!DOCTYPE html><html><body><h1>Welcome to the router</h1></body></html>"
_LIST: Final = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>bucket</Name><Prefix></Prefix><KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys>"
    "<IsTruncated>{more}</IsTruncated>{next}{keys}</ListBucketResult>"
)
_KEY: Final = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag>"
    "<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
_ASSUMED: Final = (
    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
    "<AccessKeyId>temporary</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>"
    "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
)
_ERROR: Final = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>m</Message><Resource>/</Resource>'
    "<RequestId>1</RequestId><HostId>h</HostId></Error>"
)


@dataclass
class BadStore:
    """One that runs."""

    endpoint: str
    kind: str
    requests: list[str] = field(default_factory=list)
    """METHOD and path of each request."""

    @property
    def hits(self) -> int:
        """Number of requests so far, or of connections for a kind that reads no requests."""
        return len(self.requests)


class Handler(BaseHTTPRequestHandler):
    """Common to all kinds; `spoil` returns whether it has sent a bad answer."""

    protocol_version = "HTTP/1.1"
    store: BadStore
    over: threading.Event
    target: str = ""
    """Target of redirects."""

    def handle_any(self) -> None:
        """Read the request, then answer badly or as an empty store."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.store.requests.append(f"{self.command} {self.path}")
        self.close_connection = True
        if not _SPOIL[self.store.kind](self):
            self.be_an_empty_store()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

    def be_an_empty_store(self) -> None:
        """A bucket without objects, and AssumeRole that gives keys."""
        address = urlsplit(self.path)
        if self.command == "POST" and address.path == "/":
            self.answer(200, _ASSUMED.encode(), XML)
        elif self.is_list:
            self.answer(200, _LIST.format(count=0, more="false", next="", keys="").encode(), XML)
        elif self.is_bucket or self.command in ("PUT", "DELETE"):
            self.answer(200, b"", XML, {"ETag": '"e"'})
        else:
            self.answer(404, _ERROR.format(code="NoSuchKey").encode(), XML)

    @property
    def is_bucket(self) -> bool:
        """Whether the request is about the bucket itself."""
        return "/" not in urlsplit(self.path).path.strip("/")

    @property
    def is_list(self) -> bool:
        """Whether the request lists objects."""
        return self.command == "GET" and self.is_bucket

    def end_headers(self) -> None:
        """Close the connection after each answer, and announce it."""
        self.send_header("Connection", "close")
        super().end_headers()

    def answer(self, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _silent(handler: Handler) -> bool:
    handler.over.wait()
    return True


def _dripping(handler: Handler) -> bool:
    """One byte of the header now and then, so that no time-out per read expires."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.over.wait(DRIP_SECONDS):
        handler.wfile.write(b"x")
        handler.wfile.flush()
    return True


def _dripping_body(handler: Handler) -> bool:
    """A bucket that exists, with objects and lists that arrive byte by byte."""
    if handler.command == "HEAD":
        return _head(handler, 1 << 20)
    _begin(handler, length=1 << 20)
    while not handler.over.wait(DRIP_SECONDS):
        handler.wfile.write(b" ")
        handler.wfile.flush()
    return True


def _endless(handler: Handler) -> bool:
    """Answers without end."""
    if handler.command == "HEAD":
        return _head(handler, 1 << 20)
    _begin(handler, length=None)
    while not handler.over.is_set():
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK))
    return True


def _endless_list(handler: Handler) -> bool:
    """Every page of the list announces another page."""
    if not handler.is_list:
        return False
    asked = parse_qs(urlsplit(handler.path).query)
    page = int(asked.get("continuation-token", ["0"])[0]) + 1
    keys = "".join(_KEY.format(key=f"k/{page:09d}-{i:04d}") for i in range(1000))
    following = f"<NextContinuationToken>{page}</NextContinuationToken>"
    body = _LIST.format(count=1000, more="true", next=following, keys=keys)
    handler.answer(200, body.encode(), XML)
    return True


def _empty_pages(handler: Handler) -> bool:
    """An endless list of empty pages."""
    if not handler.is_list:
        return False
    following = "<NextContinuationToken>again</NextContinuationToken>"
    handler.answer(200, _LIST.format(count=0, more="true", next=following, keys="").encode(), XML)
    return True


def _redirecting(handler: Handler) -> bool:
    handler.answer(307, b"", XML, {"Location": handler.target + handler.path})
    return True


def _html(handler: Handler) -> bool:
    handler.answer(200, HTML, "text/html; charset=utf-8")
    return True


def _html_as_xml(handler: Handler) -> bool:
    """The HTML page of a proxy, sent as XML."""
    handler.answer(200, HTML, XML)
    return True


def _huge_manifest(handler: Handler) -> bool:
    """Every object exists and has 600 MiB."""
    if handler.is_bucket or handler.command not in ("GET", "HEAD"):
        return False
    if handler.command == "HEAD":
        return _head(handler, HUGE_BYTES)
    _begin(handler, length=HUGE_BYTES)
    for _ in range(HUGE_BYTES // len(BLOCK)):
        if handler.over.is_set():
            break
        handler.wfile.write(BLOCK)
    return True


def _head(handler: Handler, length: int) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", "0" if handler.is_bucket else str(length))
    handler.send_header("ETag", '"e"')
    handler.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
    handler.end_headers()
    return True


def _begin(handler: Handler, length: int | None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", XML)
    handler.send_header("ETag", '"e"')
    handler.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
    if length is None:
        handler.send_header("Transfer-Encoding", "chunked")
    else:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> Callable[[Handler], bool]:
    def answer(handler: Handler) -> bool:
        handler.answer(status, _ERROR.format(code=code).encode(), XML, headers)
        return True

    return answer


def _no_sts(handler: Handler) -> bool:
    """An S3 without AssumeRole."""
    if handler.command != "POST":
        return False
    handler.answer(501, _ERROR.format(code="NotImplemented").encode(), XML)
    return True


_SPOIL: Final[dict[str, Callable[[Handler], bool]]] = {
    "silent": _silent,
    "dripping": _dripping,
    "dripping-body": _dripping_body,
    "endless": _endless,
    "endless-list": _endless_list,
    "empty-pages": _empty_pages,
    "redirecting": _redirecting,
    "html": _html,
    "html-as-xml": _html_as_xml,
    "huge-manifest": _huge_manifest,
    "wrong-region": _error(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-central-1"}),
    "wrong-signature-region": _error(400, "AuthorizationHeaderMalformed"),
    "busy": _error(429, "TooManyRequests"),
    "no-sts": _no_sts,
    "good": lambda handler: False,
}
KINDS: Final = ("refusing", *(kind for kind in _SPOIL if kind != "good"))
"""All bad kinds; the kind `good` is an empty store."""


@contextmanager
def bad_store(kind: str, target: str = "") -> Iterator[BadStore]:
    """A store of that kind for as long as the context lasts; `target`: where "redirecting" leads to."""
    if kind == "refusing":
        yield BadStore(f"http://127.0.0.1:{_closed_port()}", kind)
        return
    over = threading.Event()
    store = BadStore("", kind)
    made = type("Made", (Handler,), {"store": store, "over": over, "target": target or "http://127.0.0.1:9"})

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """No traceback: clients are expected to close such connections."""

    server = Server(("127.0.0.1", 0), made)
    store.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield store
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""Stores that are broken or hostile: every call ends, within bounds, in an error that says what is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from kinema_api import storehttp
from kinema_api.errors import StorageError, StorageUnreachable
from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.objectstores import open_store
from stage.bad_stores import KINDS, bad_store

KEYS = StoreCredentials(access_key="AKIAEXAMPLE", secret_key="not-a-secret")
HARMLESS = {"no-sts"}
"""Kinds whose fault is none of these calls'."""
WAIT_SECONDS = 90.0
TIMES_FASTER = 10
"""A store that floods costs a core for as long as a call lives."""

CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "check": lambda store: store.check(),
    "list": lambda store: list(store.list("k/")),
    "get": lambda store: store.get("models/m/manifest.json"),
    "pages": lambda store: list(islice(store.pages("k/"), 2)),
    "get_range": lambda store: store.get_range("models/m/weights", 8, 16),
    "sha256": lambda store: store.sha256("models/m/weights"),
    "put": lambda store: store.put("k", b"v"),
}
GOOD_ENOUGH = {
    # What these kinds answer rightly, or cannot be told from a right answer.
    ("endless-list", "check"),
    ("endless-list", "put"),
    ("empty-pages", "check"),
    ("empty-pages", "put"),
    ("dripping-body", "check"),
    ("endless", "check"),
    ("html-as-xml", "check"),
    ("huge-manifest", "check"),
    ("huge-manifest", "list"),
    ("huge-manifest", "pages"),
    ("huge-manifest", "put"),
    ("huge-manifest", "sha256"),
}


def store_at(endpoint: str, bucket: str = "bucket", keys: StoreCredentials = KEYS) -> ObjectStore:
    return open_store(StoreLocation(endpoint=endpoint, bucket=bucket), keys)


def outcome(call: Callable[[], object]) -> BaseException | None:
    """What a call raises. An escape of another kind than StorageError is what these tests are about."""
    try:
        call()
    except Exception as error:
        return error
    return None


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call has a tenth of its time."""
    begin, extend = storehttp.Budget.__init__, storehttp.Budget.extend

    def short(budget: storehttp.Budget, seconds: float = storehttp.CALL_SECONDS) -> None:
        begin(budget, seconds / TIMES_FASTER)

    def little(budget: storehttp.Budget, payload: int, slowest: float = storehttp.MIN_BYTES_PER_SECOND) -> None:
        extend(budget, payload, slowest * TIMES_FASTER)

    monkeypatch.setattr(storehttp.Budget, "__init__", short)
    monkeypatch.setattr(storehttp.Budget, "extend", little)


@pytest.mark.usefixtures("hurried")
def test_every_call_to_every_kind_of_bad_store_ends_in_an_error_of_storage() -> None:
    ended: dict[tuple[str, str], BaseException | None] = {}
    threads = []

    def ask(kind: str, name: str, store: ObjectStore) -> None:
        ended[kind, name] = outcome(lambda: CALLS[name](store))

    stores = {kind: bad_store(kind) for kind in KINDS if kind not in HARMLESS}
    opened = {kind: made.__enter__() for kind, made in stores.items()}
    try:
        for kind, bad in opened.items():
            for name in CALLS:
                thread = threading.Thread(target=ask, args=(kind, name, store_at(bad.endpoint)), daemon=True)
                thread.start()
                threads.append((kind, name, thread))
        for _, _, thread in threads:
            thread.join(WAIT_SECONDS)
        unfinished = [(kind, name) for kind, name, thread in threads if thread.is_alive()]
        assert unfinished == [], "these calls never end"
    finally:
        for made in stores.values():
            made.__exit__(None, None, None)
    assert {at: type(error).__name__ for at, error in ended.items() if not isinstance(error, StorageError | None)} == {}
    taken = [at for at, error in ended.items() if error is None and at not in GOOD_ENOUGH]
    assert taken == [], "these stores were taken for good ones"
    for error in filter(None, ended.values()):
        assert ";" in str(error), "an error without a remedy"


@pytest.mark.usefixtures("hurried")
def test_a_call_whose_time_is_up_does_not_wait_for_another_answer() -> None:
    with bad_store("silent") as store:
        began = time.monotonic()
        error = outcome(lambda: store_at(store.endpoint).check())
        assert time.monotonic() - began < storehttp.SILENCE_SECONDS
    assert isinstance(error, StorageUnreachable)


@pytest.mark.parametrize("call", ["get", "list", "put"])
def test_a_redirect_is_never_followed(call: str) -> None:
    with bad_store("good") as elsewhere, bad_store("redirecting", target=elsewhere.endpoint) as store:
        error = outcome(lambda: CALLS[call](store_at(store.endpoint)))
        assert elsewhere.requests == [], "the request went on to where the store pointed"
        assert isinstance(error, StorageError)
        assert "redirect" in str(error)


def test_a_huge_manifest_is_not_read_into_memory() -> None:
    with bad_store("huge-manifest") as store:
        error = outcome(lambda: len(store_at(store.endpoint).get("models/m/manifest.json")))
        assert isinstance(error, StorageError), "600 MiB were read whole"
        assert "bytes" in str(error)


@pytest.mark.parametrize(("kind", "says"), [("empty-pages", "is too long"), ("endless-list", "more than 2500 objects")])
def test_a_list_without_end_is_given_up(kind: str, says: str) -> None:
    with bad_store(kind) as store:
        result: list[BaseException | None] = []
        asking = threading.Thread(
            target=lambda: result.append(outcome(lambda: list(store_at(store.endpoint).list("k/", limit=2500)))),
            daemon=True,
        )
        asking.start()
        asking.join(WAIT_SECONDS)
        assert not asking.is_alive(), "the list is still being read"
        assert isinstance(result[0], StorageError)
        assert says in str(result[0])


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\ufeff", "\x00", "é", " ", "\ud800"])
def test_keys_that_no_header_can_carry_are_told_without_showing_them(ending: str, tmp_path: Path) -> None:
    import json

    file = tmp_path / "credentials.json"
    file.write_text(json.dumps({"accessKey": "AKIAEXAMPLE" + ending, "secretKey": "hidden" + ending}))
    with bad_store("good") as good:
        location = StoreLocation(endpoint=good.endpoint, bucket="bucket")
        error = outcome(lambda: open_store(location, file).check())
        assert isinstance(error, StorageError), type(error).__name__
        assert "AWS4-HMAC" not in str(error)
        assert "hidden" not in str(error)
        assert good.requests == []


@pytest.mark.parametrize("bucket", ["a..b", "192.168.1.1", "x-s3alias", "xn--a", "a.-b", "A", "_"])
def test_a_bucket_that_no_store_can_have_is_an_error_of_storage(bucket: str) -> None:
    with bad_store("good") as good:
        for call in CALLS.values():
            error = outcome(lambda call=call: call(store_at(good.endpoint, bucket)))  # type: ignore[misc]
            assert error is None or isinstance(error, StorageError), type(error).__name__


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://bucket.s3.us-east-1.amazonaws.com",
        "http://s3.amazonaws.com",
        "http://h:99999",
        "http://[::1",
        "http://u:p@h",
        "http://h/path",
        "http://",
        "ftp://h",
        "https://s3.example.amazonaws.com.evil",
    ],
)
def test_an_endpoint_that_no_store_can_have_is_an_error_of_storage(endpoint: str) -> None:
    def ask() -> None:
        store_at(endpoint).presign_get("key", timedelta(minutes=1))

    error = outcome(ask)
    assert error is None or isinstance(error, StorageError), f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("refusing", "refuses connections"),
        ("wrong-region", "eu-central-1"),
        ("wrong-signature-region", "region"),
        ("busy", "throttles requests"),
        ("html", "not an S3 store"),
        ("redirecting", "redirects"),
    ],
)
def test_each_fault_of_a_store_is_told_by_its_own_name(kind: str, says: str) -> None:
    with bad_store(kind) as store:
        error = outcome(lambda: CALLS["list"](store_at(store.endpoint)))
        assert isinstance(error, StorageError)
        assert says in str(error)


@pytest.mark.parametrize("call", [*CALLS.values(), lambda store: store.put_if("k", b"v", None)])
def test_a_message_about_a_busy_store_has_one_remedy(call: Callable[[ObjectStore], object]) -> None:
    with bad_store("busy") as store:
        error = outcome(lambda: call(store_at(store.endpoint)))
        assert isinstance(error, StorageUnreachable)
        assert str(error).startswith("object store ")
        assert str(error).count("the operation is retried") == 1


def test_a_name_that_does_not_resolve_is_told_as_such() -> None:
    error = outcome(lambda: store_at("http://no-such-store.invalid:9000").check())
    assert isinstance(error, StorageUnreachable)
    assert "does not resolve" in str(error)


def test_tls_on_a_port_without_it_is_told_as_such() -> None:
    with bad_store("good") as store:
        error = outcome(lambda: store_at(store.endpoint.replace("http:", "https:")).check())
        assert isinstance(error, StorageError)
        assert "TLS" in str(error)

"""What a bad store costs the operator: a hand at most, an error with a remedy, and nobody else's time."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from kinema_api.base import ArtifactStore, SecretName
from kinema_api.errors import StorageError
from kinema_operator.core.settings import Settings
from kinema_operator.shell.storage import Stores
from kinema_operator.training.scope import Scope
from stage.bad_stores import BadStore, bad_store

PREFIX = "trainings/team/t/uid/"


class Secrets:
    """A namespace whose every Secret holds these keys."""

    def __init__(self, access_key: str = "any-key", secret_key: str = "any-secret", marked: bool = True) -> None:
        keys = {"accessKey": access_key, "secretKey": secret_key}
        self.secret = {
            "metadata": {"labels": {"kinema.dev/store-keys": "true"} if marked else {}},
            "data": {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()},
        }

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self.secret


def spec(endpoint: str) -> ArtifactStore:
    # Unchecked: what was admitted by an older CRD is looked at, too.
    return ArtifactStore.model_construct(
        endpoint=endpoint,
        public_endpoint=None,
        bucket="bucket",
        region="us-east-1",
        secret_ref=SecretName(name="keys"),
    )


async def failure(call: Any) -> BaseException | None:
    try:
        await call
    except Exception as error:
        return error
    return None


async def asked(kind: str, times: int) -> tuple[BadStore, list[BaseException | None]]:
    """A store of that kind after `times` resources have looked at it, one after the other."""
    stores = Stores(Settings(), Secrets())
    with bad_store(kind) as store:
        errors = [await failure(stores.checked("team", spec(store.endpoint))) for _ in range(times)]
    return store, errors


@pytest.mark.parametrize("kind", ["busy", "redirecting", "html", "wrong-region"])
async def test_a_store_that_failed_is_not_asked_by_each_resource_that_names_it(kind: str) -> None:
    store, errors = await asked(kind, 60)
    assert all(isinstance(error, StorageError) for error in errors)
    assert store.hits <= 4, "each of 60 resources asked it anew"


async def test_resources_of_a_silent_store_give_their_workers_back_soon() -> None:
    """61 resources at once: when one of them has been told, all but the one that asks must have been."""
    stores = Stores(Settings(), Secrets())
    with bad_store("silent") as store:
        looks = [asyncio.create_task(failure(stores.checked("team", spec(store.endpoint)))) for _ in range(61)]
        done, waiting = await asyncio.wait(looks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.5)
        done, waiting = await asyncio.wait(looks, timeout=0)
        for look in waiting:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
    assert len(waiting) <= 1, f"{len(waiting)} workers wait for one silent store"
    assert all(isinstance(look.result(), StorageError) for look in done)


async def test_calls_to_a_silent_store_take_no_thread_of_others() -> None:
    """Many namespaces have silent stores, and another one's own store answers at once."""
    stores = Stores(Settings(), Secrets())
    with bad_store("silent") as silent, bad_store("good") as good:
        stuck = [asyncio.create_task(failure(stores.checked(f"n{i}", spec(silent.endpoint)))) for i in range(40)]
        for _ in range(500):
            if silent.hits >= 5:
                break
            await asyncio.sleep(0.02)
        try:
            async with asyncio.timeout(10):
                answered = await failure(stores.checked("other", spec(good.endpoint)))
        except TimeoutError:
            answered = TimeoutError("no thread was left")
        for look in stuck:
            look.cancel()
    assert answered is None, answered


@pytest.mark.parametrize("kind", ["endless", "html", "html-as-xml", "redirecting", "busy", "refusing", "no-sts"])
async def test_whatever_answers_for_temporary_keys_is_an_error_of_storage(kind: str, tmp_path: Any) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"accessKey": "any-key", "secretKey": "any-secret"}')
    with bad_store(kind) as store:
        settings = Settings(store_endpoint=store.endpoint, store_bucket="bucket", store_credentials_file=file)
        stores = Stores(settings, Secrets())
        opened = await stores.for_object("team", None)
        async with asyncio.timeout(60):
            error = await failure(stores.scoped_credentials(opened, Scope((PREFIX,)), 900))
    assert isinstance(error, StorageError), repr(error)
    assert type(error).__name__ == {"no-sts": "StsMissing"}.get(kind, type(error).__name__), error
    assert "keys must belong" not in str(error), "the keys are blamed for what the store does"


async def test_a_store_without_sts_gives_trainers_the_keys_that_their_namespace_named() -> None:
    stores = Stores(Settings(), Secrets())
    with bad_store("no-sts") as store:
        opened = await stores.for_object("team", spec(store.endpoint))
        got: Any = await failure(stores.scoped_credentials(opened, Scope((PREFIX,)), 900))
        assert got is None, f"no training can run there: {got}"
        keys = await stores.scoped_credentials(opened, Scope((PREFIX,)), 900)
        assert (keys.access_key, keys.session_token) == ("any-key", None)
        assert keys.expires is not None, "they are read again, so that changed ones are taken up"
        assert stores.shares_keys("team", spec(store.endpoint)), "and a condition can say so"


@pytest.mark.parametrize("broken", ["key\n", "key\r\n", "\ufeffkey", "ke y", "k\x00", "schlüssel"])
async def test_a_secret_whose_keys_no_header_can_carry_is_named_and_not_shown(broken: str) -> None:
    stores = Stores(Settings(), Secrets(access_key=broken, secret_key="hidden" + broken))
    with bad_store("good") as store:
        error = await failure(stores.checked("team", spec(store.endpoint)))
    assert isinstance(error, StorageError), repr(error)
    assert "accessKey in Secret 'keys'" in str(error)
    assert "hidden" not in str(error)
    assert store.requests == []


async def test_a_secret_that_is_not_marked_as_keys_of_a_store_is_not_used() -> None:
    stores = Stores(Settings(), Secrets(marked=False))
    with bad_store("good") as store:
        error = await failure(stores.checked("team", spec(store.endpoint)))
    assert store.requests == [], "any Secret of the namespace was sent to a store"
    assert isinstance(error, StorageError)
    assert "kubectl label secret" in str(error)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254",
        "http://169.254.169.254:80",
        "http://metadata.google.internal",
        "http://[fe80::1]:9000",
        "http://[::ffff:169.254.169.254]",
        "https://kubernetes.default.svc",
        "https://kubernetes.default.svc.cluster.local:443",
        "https://10.9.8.7:6443",
        "https://elsewhere.example:443",
        "http://100.100.100.200",
        "http://minio.kinema-system.svc:9001",
    ],
)
async def test_a_spec_cannot_send_the_operator_to_where_no_administrator_allowed_it(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINEMA_ALLOWED_STORES", '["https://s3.*.example", "http://169.254.169.254:*"]')
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.9.8.7")
    stores = Stores(Settings(store_endpoint="http://minio.kinema-system.svc:9000"), Secrets())
    error = await failure(stores.for_object("team", spec(endpoint)))
    assert isinstance(error, StorageError), f"{endpoint} is opened"


@pytest.mark.parametrize(
    "endpoint", ["https://s3.eu.example", "https://s3.eu.example:443", "http://minio.kinema-system.svc:9000"]
)
async def test_stores_that_are_allowed_are_opened(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEMA_ALLOWED_STORES", '["https://s3.*.example"]')
    stores = Stores(Settings(store_endpoint="http://minio.kinema-system.svc:9000"), Secrets())
    assert await failure(stores.for_object("team", spec(endpoint))) is None

"""What the observer remembers between two looks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kinema_api.base import utc_now
from kinema_api.errors import StorageDenied
from kinema_operator.core.errors import Denied
from kinema_operator.core.settings import Settings
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training.observe import Observer
from kinema_operator.training.plan import decide
from kinema_operator.training.trainers import Trainers


class UsableStores:
    """A store that answers; whether it gives credentials is not asked here."""

    async def checked(self, namespace: str, artifact_store: Any) -> None:
        return None


class NoSecrets:
    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None


async def test_a_refusal_of_credentials_is_told_until_there_are_some(make_training: Any, settings: Settings) -> None:
    observer = Observer(settings, NoSecrets(), UsableStores(), Trainers(settings, 1))  # type: ignore[arg-type]
    training = make_training({"run": 1, "attempt": 1, "phase": "Pending"})
    cache = ObjectCache(lambda _: None)
    assert (await observer.observe(training, cache)).storage_problem is None
    observer.remember_refusal(training, StorageDenied("AssumeRole is refused; use the keys of a user"))
    told = (await observer.observe(training, cache)).storage_problem
    assert told is not None
    assert (told.reason, told.message) == ("StorageDenied", "AssumeRole is refused; use the keys of a user")
    observer.remember_credentials(training, utc_now() + timedelta(hours=1))
    seen = await observer.observe(training, cache)
    assert seen.storage_problem is None
    assert seen.credentials_expire is not None


class ClosedNamespace:
    """The operator may not read Secrets there."""

    async def get(self, kind: str, namespace: str, name: str) -> None:
        raise Denied(f"GET {kind}", "forbidden", 403, "Forbidden")


async def test_keys_are_renewed_in_time_where_secrets_may_not_be_read(
    make_training: Any, make_view: Any, settings: Settings
) -> None:
    expire = utc_now() + timedelta(hours=1)
    observer = Observer(settings, ClosedNamespace(), UsableStores(), Trainers(settings, 1))  # type: ignore[arg-type]
    running = {"run": 1, "attempt": 1, "phase": "Pending"}
    observer.remember_credentials(make_training(running), expire)
    cache = ObjectCache(lambda _: None)
    seen = await observer.observe(make_training(running), cache)
    written = decide(make_view(running, seen)).status
    assert written is not None

    after_a_restart = Observer(settings, ClosedNamespace(), UsableStores(), Trainers(settings, 1))  # type: ignore[arg-type]
    found = await after_a_restart.observe(make_training(written.to_wire()), cache)
    assert found.credentials_expire == expire

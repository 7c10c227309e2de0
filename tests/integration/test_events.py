"""Events on a real API server: the same news counts up, much news of one kind becomes one, a flood is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from integration.attempts_operator import training
from kinema_operator.core.plan import Event, KubeObject
from kinema_operator.shell.client import Client
from kinema_operator.shell.events import EventPoster

pytestmark = pytest.mark.apiserver


async def told(client: Client, obj: KubeObject, events: Iterable[Event]) -> list[dict[str, Any]]:
    """What the API server has after a fresh poster was told these."""
    poster = EventPoster(client)
    for event in events:
        poster.tell(obj, event)
    posting = asyncio.create_task(poster.run())
    await poster.drain(20.0)
    posting.cancel()
    namespace = obj["metadata"]["namespace"]
    found, _ = await client.list_all("Event", namespace)
    return found


async def test_the_same_news_counts_up_one_event_over_a_restart_too(client: Client, namespace: str) -> None:
    obj = await client.post(training(namespace, "one"))
    news = Event("AttemptFailed", "Attempt 1 ended", "Warning")
    await told(client, obj, [news] * 3)
    found = await told(client, obj, [news] * 2)
    assert [(e["reason"], e["count"]) for e in found] == [("AttemptFailed", 5)]


async def test_much_similar_news_becomes_one_event(client: Client, namespace: str) -> None:
    obj = await client.post(training(namespace, "one"))
    found = await told(client, obj, [Event("QuotaExceeded", f"used {n}", "Warning") for n in range(20)])
    assert len(found) <= 11
    assert sum(e["count"] for e in found) == 20


async def test_a_resource_that_says_too_much_is_cut_off_and_no_other(client: Client, namespace: str) -> None:
    loud, quiet = [await client.post(training(namespace, name)) for name in ("loud", "quiet")]
    await told(client, loud, [Event(f"Reason{n}", "again") for n in range(100)])
    found = await told(client, quiet, [Event("Started", "once")])
    by_name = [e["involvedObject"]["name"] for e in found]
    assert by_name.count("loud") <= 25
    assert by_name.count("quiet") == 1

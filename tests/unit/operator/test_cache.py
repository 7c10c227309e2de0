"""The cache: what is newer wins, a list replaces, and a late word about something deleted does not revive it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_operator.core.resources import MANAGED_SELECTOR, ref_to
from kinema_operator.shell.cache import ObjectCache


def pod(name: str, version: int, uid: str | None = None, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "n",
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "labels": {**MANAGED_SELECTOR, **{f"kinema.dev/{k}": v for k, v in labels.items()}},
            "managedFields": [{"manager": "somebody"}],
        },
    }


class Watched:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.cache = ObjectCache(lambda obj: self.told.append(obj["metadata"]["name"]))
        self.cache.watch_kind("Pod", MANAGED_SELECTOR)

    def names(self) -> list[str]:
        return sorted(obj["metadata"]["name"] for obj in self.cache.list("Pod"))

    def version(self, name: str) -> int | None:
        obj = self.cache.get("Pod", "n", name)
        return None if obj is None else int(obj["metadata"]["resourceVersion"])


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_list_replaces_and_tells_of_what_has_gone(watched: Watched) -> None:
    watched.cache.replace("Pod", [pod("a", 1), pod("b", 2)], 5)
    watched.told.clear()
    watched.cache.replace("Pod", [pod("a", 1), pod("c", 8)], 9)
    assert watched.names() == ["a", "c"]
    assert sorted(watched.told) == ["b", "c"], "an unchanged object wakes nobody"


def test_own_writes_are_seen_at_once_and_survive_an_older_watch_event(watched: Watched) -> None:
    watched.cache.replace("Pod", [pod("a", 5)], 5)
    assert watched.cache.offer(pod("a", 9))
    watched.cache.advance("Pod", "MODIFIED", pod("a", 7))
    assert watched.version("a") == 9
    assert not watched.cache.offer(pod("a", 8))


def test_a_list_from_before_an_own_write_does_not_take_it_out(watched: Watched) -> None:
    watched.cache.replace("Pod", [], 5)
    watched.cache.offer(pod("new", 7))
    watched.cache.replace("Pod", [], 6)
    assert watched.names() == ["new"]
    watched.cache.replace("Pod", [], 8)
    assert watched.names() == []


def test_a_late_answer_does_not_revive_what_the_watch_saw_deleted(watched: Watched) -> None:
    watched.cache.replace("Pod", [pod("a", 5)], 5)
    watched.cache.advance("Pod", "DELETED", pod("a", 9))
    assert not watched.cache.offer(pod("a", 8))
    assert watched.names() == []


def test_what_we_deleted_stays_away_until_the_watch_has_caught_up(watched: Watched) -> None:
    watched.cache.replace("Pod", [pod("a", 5)], 5)
    watched.cache.discard(ref_to(pod("a", 5)), "uid-a")
    watched.cache.advance("Pod", "MODIFIED", pod("a", 6))
    assert watched.names() == []
    watched.cache.advance("Pod", "DELETED", pod("a", 7))
    watched.cache.advance("Pod", "ADDED", pod("a", 8, uid="another"))
    assert watched.version("a") == 8


def test_the_end_of_a_predecessor_does_not_take_its_successor_along(watched: Watched) -> None:
    watched.cache.replace("Pod", [pod("a", 5, uid="old")], 5)
    watched.cache.offer(pod("a", 9, uid="new"))
    watched.cache.advance("Pod", "DELETED", pod("a", 8, uid="old"))
    assert watched.version("a") == 9


def test_bookmarks_move_the_version_alone(watched: Watched) -> None:
    watched.cache.replace("Pod", [pod("a", 5)], 5)
    watched.told.clear()
    watched.cache.advance("Pod", "BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "50"}})
    assert watched.told == []
    assert not watched.cache.offer(pod("gone", 49))
    assert watched.cache.offer(pod("made", 51))


def test_objects_nobody_would_watch_are_not_kept(watched: Watched) -> None:
    stranger = pod("stranger", 9)
    stranger["metadata"]["labels"] = {}
    assert not watched.cache.offer(stranger)
    assert not watched.cache.offer({**pod("s", 9), "kind": "Secret"})
    assert watched.cache.get("Secret", "n", "s") is None


def test_labels_find_objects_in_their_namespace_only(watched: Watched) -> None:
    watched.cache.replace("Pod", [pod("a", 1, training="t"), pod("b", 2, training="u"), pod("c", 3, training="t")], 5)
    watched.cache.advance("Pod", "MODIFIED", pod("c", 6, training="u"))
    found = watched.cache.list("Pod", "n", {"kinema.dev/training": "u", **MANAGED_SELECTOR})
    assert sorted(obj["metadata"]["name"] for obj in found) == ["b", "c"]
    assert watched.cache.list("Pod", "other", {"kinema.dev/training": "u"}) == []


def test_bookkeeping_is_not_kept_and_the_caller_keeps_its_own(watched: Watched) -> None:
    original = pod("a", 1)
    original["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "k": "v"}
    watched.cache.offer(original)
    kept = watched.cache.get("Pod", "n", "a")
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"k": "v"}
    assert "managedFields" in original["metadata"]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=12),
    st.data(),
)
def test_any_mix_of_late_answers_ends_where_the_watch_ends(story: list[tuple[str, bool]], data: st.DataObject) -> None:
    """The server's history is `story`: at version n, a pod is written (True) or deleted; answers may come any time."""
    watched = Watched()
    history: list[tuple[str, dict[str, Any]]] = []
    alive: dict[str, dict[str, Any]] = {}
    for version, (name, written) in enumerate(story, start=1):
        if written:
            change = "MODIFIED" if name in alive else "ADDED"
            uid = alive[name]["metadata"]["uid"] if name in alive else f"{name}{version}"
            alive[name] = pod(name, version, uid)
            history.append((change, alive[name]))
        elif name in alive:
            gone = alive.pop(name)
            history.append(("DELETED", pod(name, version, gone["metadata"]["uid"])))
    for change, obj in history:
        watched.cache.advance("Pod", change, obj)
        for late in data.draw(st.lists(st.sampled_from(history), max_size=2)):
            known = int(obj["metadata"]["resourceVersion"])
            if late[0] != "DELETED" and int(late[1]["metadata"]["resourceVersion"]) <= known:
                watched.cache.offer(late[1])
    assert {name: watched.version(name) for name in alive} == {
        name: int(obj["metadata"]["resourceVersion"]) for name, obj in alive.items()
    }
    assert watched.names() == sorted(alive)

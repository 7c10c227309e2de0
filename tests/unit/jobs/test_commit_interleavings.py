"""Whatever the order in which groups, and the control plane, get to the bucket, and whenever one of them dies.

Each actor runs the real code in a thread of its own, and is held before each call to its store until it is its turn; a
list of turns is a whole story. The store is a folder, whose conditional writes are as atomic as S3's.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_api import head as heads
from kinema_api import layout
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_jobs.errors import JobError
from kinema_jobs.rendezvous.errors import StaleRound, Superseded
from kinema_jobs.rendezvous.questions import Place
from kinema_jobs.train.failures import AttemptOver
from kinema_jobs.train.head import AttemptHead, RoundTaken, Start
from kinema_jobs.train.storage import RetryPolicy
from kinema_operator.training import fence

pytestmark = pytest.mark.slow


ATTEMPT = layout.attempt_prefix("team", "tiny", "uid", 1, 1)


def bucket(folder: str) -> ObjectStore:
    (Path(folder) / "kinema").mkdir()
    return open_store(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"), None)


class Killed(BaseException):
    """The actor's process is gone."""


class Turns:
    """Lets one actor at a time do one thing."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: set[str] = set()
        self._ended: set[str] = set()
        self._turn: str | None = None
        self._killed: set[str] = set()

    def mine(self, name: str) -> None:
        """Wait for a turn; called by the actor's thread."""
        with self._changed:
            self._waiting.add(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._turn == name or name in self._killed)
            self._waiting.discard(name)
            self._turn = None
            if name in self._killed:
                raise Killed

    def ended(self, name: str) -> None:
        with self._changed:
            self._ended.add(name)
            self._changed.notify_all()

    def give(self, name: str) -> bool:
        """One turn, until the actor comes back or has ended; False if it had ended."""
        with self._changed:
            self._changed.wait_for(lambda: name in self._waiting or name in self._ended)
            if name in self._ended:
                return False
            self._waiting.discard(name)
            self._turn = name
            self._changed.notify_all()
            self._changed.wait_for(lambda: name in self._waiting or name in self._ended)
            return True

    def kill(self, name: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: name in self._waiting or name in self._ended)
            self._killed.add(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: name in self._ended)


class InTurns:
    """A store whose every call waits for its turn."""

    def __init__(self, store: ObjectStore, turns: Turns, name: str) -> None:
        self._store, self._turns, self._name = store, turns, name

    def __getattr__(self, call: str) -> Any:
        found = getattr(self._store, call)
        if not callable(found) or call == "uri":
            return found

        def in_turn(*args: Any, **kwargs: Any) -> Any:
            self._turns.mine(self._name)
            answer = found(*args, **kwargs)
            return list(answer) if call == "list" else answer

        return in_turn


@dataclass
class Group:
    """A rendezvous with its only member, which trains in rounds and commits after each step."""

    name: str
    store: Any
    generation: int = 0
    steps: int = 3
    commits: list[str] = field(default_factory=list)
    claims: int = 0
    lost: JobError | None = None
    round: int = 0

    def run(self) -> None:
        while self.lost is None:
            self.round += 1
            try:
                self._train_a_round()
            except RoundTaken as error:
                self.round = max(self.round, error.floor)
            except (StaleRound, AttemptOver) as error:
                self.lost = error
            else:
                return

    def _train_a_round(self) -> None:
        token = f"{self.name}-{self.round}"
        place = Place("uid/1/1", self.round, token, "m", 0, 1, 0, 1, "x:1", self.name, self.generation)
        head = AttemptHead(self.store, ATTEMPT, place, RetryPolicy(1), weak=False)
        start = head.claim()
        self.claims += 1
        if start.exported:
            return
        begin = start.checkpoints[0] if start.checkpoints else None
        head.goes_on_from(begin)
        step = layout.parse_checkpoint_manifest(begin + layout.MANIFEST)[0] if begin else 0  # type: ignore[index]
        for at in range(step + 1, step + 1 + self.steps):
            prefix = layout.checkpoint_prefix(ATTEMPT, at, self.round)
            head.commit_checkpoint(prefix, self._write(prefix, "checkpoint", at))
            self.commits.append(prefix)

    def _write(self, prefix: str, kind: str, step: int) -> Manifest:
        data = f"{self.name} {prefix}".encode()
        self.store.put(prefix + "w.distcp", data)
        file = ManifestFile(name="w.distcp", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        return Manifest.model_validate(
            {"kind": kind, "files": [file], "run": 1, "attempt": 1, "round": self.round, "step": step}
            | {"worldSize": 1, "samples": step, "created": datetime(2026, 3, 1, tzinfo=UTC)}
        )


def read_through(store: ObjectStore) -> fence.Found:
    """What a reader sees now; all that is named is whole, and belongs to who wrote it."""
    found = fence.find(store, ATTEMPT, None)
    assert found.passed_over == (), "what is named is whole at every moment"
    if found.checkpoint:
        prefix = found.checkpoint.prefix
        manifest = Manifest.from_bytes(store.get(prefix + layout.MANIFEST), prefix)
        for file in manifest.files:
            assert store.sha256(prefix + file.name) == (file.sha256, file.bytes)
    return found


def played(store: ObjectStore, actors: dict[str, Callable[[Any], None]], story: Sequence[tuple[str, bool]]) -> None:
    """Let the actors run by a story of (actor, dies here), then to their ends; the bucket is read after each turn."""
    turns = Turns()

    def act(name: str) -> None:
        with suppress(Killed):
            actors[name](InTurns(store, turns, name))
        turns.ended(name)

    threads = [threading.Thread(target=act, args=(name,), daemon=True) for name in actors]
    for thread in threads:
        thread.start()
    for name, dies in story:
        if dies:
            turns.kill(name)
        else:
            turns.give(name)
        read_through(store)
    for name in actors:
        while turns.give(name):
            read_through(store)
    for thread in threads:
        thread.join(10)


stories = st.lists(
    st.tuples(st.sampled_from(["old", "new"]), st.sampled_from([False] * 15 + [True])), min_size=10, max_size=60
)
long = settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@long
@given(stories)
def test_of_two_rendezvous_only_the_last_to_claim_commits_and_each_claims_once(story: list[tuple[str, bool]]) -> None:
    with TemporaryDirectory() as folder:
        store = bucket(folder)
        groups: dict[str, Group] = {}

        def train(name: str) -> Callable[[Any], None]:
            def run(turned: Any) -> None:
                groups[name] = Group(name, turned)
                groups[name].run()

            return run

        played(store, {"old": train("old"), "new": train("new")}, story)
        head = heads.read(store, ATTEMPT) or heads.adopt(store, ATTEMPT)  # all may have died before the first claim
        assert all(group.claims <= 1 for group in groups.values()), "a service that was superseded never claims again"
        named = [ATTEMPT + folder for folder in head.head.checkpoints]
        committed = {prefix for group in groups.values() for prefix in group.commits}
        assert committed <= set(named), "a commit that was answered is never taken back"
        rounds = [layout.parse_checkpoint_manifest(prefix + layout.MANIFEST) for prefix in reversed(named)]
        assert rounds == sorted(rounds, key=lambda at: (at[1], at[0]) if at else (0, 0)), "one group after the other"
        steps = [at[0] for at in rounds if at]
        assert steps == list(range(1, len(steps) + 1)), "each goes on from what the other had committed last"


@long
@given(stories)
def test_what_a_successor_resumes_from_stays_fixed_whoever_wakes_up_late(story: list[tuple[str, bool]]) -> None:
    with TemporaryDirectory() as folder:
        store = bucket(folder)
        fixed: list[fence.Found] = []

        def control_plane(turned: Any) -> None:
            heads.close(turned, ATTEMPT)
            fixed.append(fence.find(turned, ATTEMPT, None))

        zombie = Group("old", None)

        def train(turned: Any) -> None:
            zombie.store = turned
            zombie.run()

        played(store, {"old": train, "new": control_plane}, story)
        for found in fixed:
            assert found.closed
            assert read_through(store) == found
        if fixed and zombie.commits:
            assert fixed[0].checkpoint is not None


def test_a_pod_made_earlier_never_claims_after_one_made_later(tmp_path: Path) -> None:
    store = bucket(str(tmp_path))
    late, early = Group("late", store, generation=8), Group("early", store, generation=7)
    late.run()
    early.run()
    assert isinstance(early.lost, Superseded)
    assert (late.claims, early.claims, early.commits) == (1, 0, [])


def test_a_service_started_again_claims_anew_and_goes_on_where_it_was(tmp_path: Path) -> None:
    store = bucket(str(tmp_path))
    Group("first", store).run()
    again = Group("again", store)
    again.run()
    head = heads.read(store, ATTEMPT)
    assert head is not None
    assert (head.head.epoch, head.head.former) == (2, ("first",))
    assert again.round == 2, "rounds are numbered above those of the service before"
    assert again.commits[0].startswith(f"{ATTEMPT}step-00000004/")


def test_a_lost_answer_to_a_commit_is_no_lost_commit(tmp_path: Path) -> None:
    class Forgetful:
        """Does what it is asked, and then does not answer, every second time."""

        def __init__(self, store: ObjectStore) -> None:
            self._store, self._calls = store, 0

        def __getattr__(self, call: str) -> Any:
            return getattr(self._store, call)

        def put_if(self, *args: Any, **kwargs: Any) -> str:
            from kinema_api.errors import StorageUnreachable

            etag = self._store.put_if(*args, **kwargs)
            self._calls += 1
            if self._calls % 2:
                raise StorageUnreachable("the connection broke before the answer came")
            return etag

    store = bucket(str(tmp_path))
    group = Group("one", Forgetful(store))
    group.run()
    assert group.lost is None
    assert len(group.commits) == 3
    assert read_through(store).checkpoint is not None


def test_what_trainers_without_heads_committed_is_adopted_and_built_upon(tmp_path: Path) -> None:
    store = bucket(str(tmp_path))
    before = Group("before", store, steps=2)
    before.run()
    store.delete(layout.head_key(ATTEMPT))
    assert fence.find(store, ATTEMPT, None).checkpoint is not None, "without a head the manifests count"
    after = Group("after", store, steps=1)
    after.run()
    head = heads.read(store, ATTEMPT)
    assert head is not None
    assert [ATTEMPT + folder for folder in head.head.checkpoints] == [*after.commits, *reversed(before.commits)]


def test_a_head_that_cannot_be_read_names_nothing_and_is_told(tmp_path: Path) -> None:
    store = bucket(str(tmp_path))
    Group("one", store).run()
    store.put(layout.head_key(ATTEMPT), b"{torn")
    assert fence.find(store, ATTEMPT, None).passed_over == (layout.head_key(ATTEMPT),)
    assert heads.close(store, ATTEMPT).checkpoints == ()


@pytest.mark.parametrize("export", ["../../elsewhere/", "export/../x/", "/export/"])
def test_a_head_names_nothing_outside_its_attempt(tmp_path: Path, export: str) -> None:
    store = bucket(str(tmp_path))
    store.put(layout.head_key(ATTEMPT), b'{"export":"%s"}' % export.encode())
    assert fence.find(store, ATTEMPT, None).passed_over == (layout.head_key(ATTEMPT),)


def test_an_export_is_committed_once_below_its_round(tmp_path: Path) -> None:
    store = bucket(str(tmp_path))
    first = AttemptHead(store, ATTEMPT, place("a", 1), RetryPolicy(1), weak=False)
    assert first.claim() == Start(exported=False)
    second = AttemptHead(store, ATTEMPT, place("b", 2), RetryPolicy(1), weak=False)
    second.claim()
    writer = Group("b", store, round=2)
    prefix = layout.export_prefix(ATTEMPT, 2)
    model = writer._write(prefix, "model", 3)
    second.commit_export(prefix, model)
    late = Group("a", store, round=1)
    with pytest.raises(Superseded):
        first.commit_export(layout.export_prefix(ATTEMPT, 1), late._write(layout.export_prefix(ATTEMPT, 1), "model", 3))
    assert heads.export_of(store, ATTEMPT) == prefix
    assert store.sha256(prefix + "w.distcp")[0] == model.files[0].sha256, "the zombie wrote elsewhere"
    assert AttemptHead(store, ATTEMPT, place("c", 3), RetryPolicy(1), weak=False).claim().exported


def place(service: str, number: int) -> Place:
    return Place("uid/1/1", number, f"{service}-{number}", "m", 0, 1, 0, 1, "x:1", service)

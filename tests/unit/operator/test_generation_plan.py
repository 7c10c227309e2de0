"""What is decided for a generation, case by case, and what holds in every case."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_api.base import Condition, find_condition
from kinema_api.generation import DeliveredFile, Delivery, VideoArtefact, VideoGeneration, VideoGenerationStatus
from kinema_api.wire import OrderResult, OrderState, UploadedFile
from kinema_operator.core.plan import Plan
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.server_pod import ServerPod
from kinema_operator.generation.effects import CancelOrder, Commit, SendOrder
from kinema_operator.generation.observed import (
    AssignedServer,
    CommittedFile,
    Copy,
    Inspection,
    Model,
    NoResponse,
    Observed,
    OrderRefusal,
    Problem,
    SignedAddress,
    Unknown,
)
from kinema_operator.generation.plan import plan

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
DIGEST = "sha256:" + "a" * 64
SHA = "c" * 64
SETTINGS = Settings(generation_attempts=3, server_silent_seconds=15)
IN_STATUS = SETTINGS.model_copy(update={"status_urls": True})
TERMINAL = ("Succeeded", "Failed", "Cancelled")


def clip(status: VideoGenerationStatus | None = None, created: datetime = NOW, **spec: Any) -> VideoGeneration:
    parsed = VideoGeneration.parse(
        {
            "metadata": {
                "name": "clip",
                "namespace": "studio",
                "uid": "uid-clip",
                "generation": 2,
                "creationTimestamp": created.isoformat(),
            },
            "spec": {"modelRef": {"name": "tiny"}, "prompt": "a red square", **spec},
        }
    )
    return parsed.model_copy(update={"status": status or VideoGenerationStatus()})


def pod(number: int = 0, **fields: Any) -> ServerPod:
    return ServerPod("studio", f"pod-{number}", f"u{number}", address="10.0.0.1", **{"ready": True, **fields})


def status(phase: str, **fields: Any) -> VideoGenerationStatus:
    plain = {"model_digest": DIGEST, "seed": 7, "attempt": 1, "server": "pod-0", "server_uid": "u0"}
    return VideoGenerationStatus(**{"phase": phase, **plain, **fields})


def order(phase: str, attempt: int = 1, **fields: Any) -> OrderState:
    return OrderState(uid="uid-clip", attempt=attempt, phase=phase, total_steps=4, **fields)  # type: ignore[arg-type]


def result(*names: str) -> OrderResult:
    files = tuple(UploadedFile(name=name, sha256=SHA, bytes=3) for name in names)
    return OrderResult(files=files, seconds=1, size="24x24", fps=8, load_seconds=1, denoise_seconds=2, encode_seconds=3)


def on_server(answer: Any = None, **fields: Any) -> Observed:
    return Observed(Model(DIGEST), servers=1, server=fields.pop("server", pod()), answer=answer, **fields)


def after(decided: Plan) -> VideoGenerationStatus:
    assert isinstance(decided.status, VideoGenerationStatus)
    return decided.status


def condition(decided: Plan, type_: str) -> Condition:
    found = find_condition(after(decided).conditions, type_)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        (Observed(None), "ModelNotFound"),
        (Observed(Model(None, "not published yet")), "ModelNotReady"),
        (Observed(Model(DIGEST), problem=Problem("BucketMissing", "create it")), "BucketMissing"),
    ],
)
def test_what_may_yet_appear_is_waited_for(observed: Observed, reason: str) -> None:
    decided = plan(clip(), observed, SETTINGS, NOW)
    assert after(decided).phase == "Pending"
    assert condition(decided, "Accepted").reason == reason
    assert after(decided).model_digest is None
    assert decided.requeue_after is not None


def test_what_can_never_become_right_fails_at_once() -> None:
    observed = Observed(Model(DIGEST), problem=Problem("BrokenModel", "publish again", fatal=True))
    decided = plan(clip(), observed, SETTINGS, NOW)
    assert after(decided).phase == "Failed"
    assert condition(decided, "Failed").message == "publish again"


def test_acceptance_fixes_model_and_seed() -> None:
    first = after(plan(clip(), Observed(Model(DIGEST), position=4), SETTINGS, NOW))
    assert (first.model_digest, first.queue_position, first.phase) == (DIGEST, 4, "Pending")
    moved_on = Observed(Model("sha256:" + "f" * 64), position=0)
    second = after(plan(clip(first), moved_on, SETTINGS, NOW))
    assert (second.model_digest, second.seed) == (DIGEST, first.seed)
    assert after(plan(clip(seed=5), Observed(Model(DIGEST)), SETTINGS, NOW)).seed == 5


def test_an_attempt_is_written_before_its_server_hears_of_it() -> None:
    decided = plan(clip(), Observed(Model(DIGEST), 0, 1, AssignedServer(pod())), SETTINGS, NOW)
    assert (after(decided).phase, after(decided).attempt, after(decided).server_uid) == ("Scheduled", 1, "u0")
    assert decided.effects == ()
    sent = plan(clip(after(decided)), on_server(Unknown()), SETTINGS, NOW)
    assert sent.effects == (SendOrder(pod(), 1, DIGEST, after(decided).seed or 0),)


def test_an_order_that_nobody_waits_for_is_stopped_first() -> None:
    decided = plan(clip(), Observed(Model(DIGEST), 0, 1, AssignedServer(pod(), "uid-other")), SETTINGS, NOW)
    assert decided.effects == (CancelOrder(pod(), "uid-other"),)
    assert after(decided).attempt == 0


@pytest.mark.parametrize(
    ("phase", "observed", "says"),
    [
        ("Running", on_server(server=pod(ended=True)), "is gone"),
        ("Running", on_server(Unknown()), "lost the request"),
        ("Running", on_server(order("failed", error="disk full")), "disk full"),
        ("Running", on_server(order("cancelled")), "cancelled"),
        ("Scheduled", on_server(order("denoising", attempt=2)), "later attempt"),
        ("Scheduled", on_server(Unknown(), refusal=OrderRefusal("outdated", "later attempt")), "later attempt"),
        ("Running", on_server(order("succeeded", result=result("thumbnail.webp"))), "other files than ordered"),
        ("Running", on_server(order("succeeded", result=result("video.mp4", "../x"))), "other files than ordered"),
        (
            "Running",
            on_server(order("succeeded", result=result("video.mp4")), inspection=Inspection(broken="not the same")),
            "not the same",
        ),
    ],
)
def test_a_failed_attempt_sends_the_request_back_to_the_line(phase: str, observed: Observed, says: str) -> None:
    decided = plan(clip(status(phase)), observed, SETTINGS, NOW)
    assert (after(decided).phase, after(decided).failures, after(decided).attempt) == ("Pending", 1, 1)
    assert says in condition(decided, "Scheduled").message
    last = plan(clip(status(phase, failures=2)), observed, SETTINGS, NOW)
    assert after(last).phase == "Failed"
    assert says in condition(last, "Failed").message


@pytest.mark.parametrize(
    "observed",
    [
        on_server(server=None),
        on_server(Unknown(), server=pod(terminating=True)),
        on_server(NoResponse("no answer"), server=pod(terminating=True)),
        on_server(order("cancelled"), server=pod(terminating=True)),
        on_server(order("failed", error="killed"), server=pod(terminating=True)),
    ],
    ids=["gone", "terminating", "silent", "stopped", "killed"],
)
@pytest.mark.parametrize("phase", ["Scheduled", "Running"])
def test_planned_stops_of_servers_exhaust_no_attempts(phase: str, observed: Observed) -> None:
    now = status(phase)
    for _ in range(SETTINGS.generation_attempts + 1):
        now = after(plan(clip(now), observed, SETTINGS, NOW))
        assert (now.phase, now.failures) == ("Pending", 0)
        assigned = Observed(Model(DIGEST), 0, 1, AssignedServer(pod()))
        now = after(plan(clip(now), assigned, SETTINGS, NOW))
        assert now.phase == "Scheduled"
        now = now.model_copy(update={"phase": phase})


@pytest.mark.parametrize(
    "observed",
    [
        on_server(order("failed", error="odd size", retriable=False)),
        on_server(Unknown(), refusal=OrderRefusal("never", "odd size")),
    ],
)
def test_a_request_at_fault_fails_with_the_servers_sentence(observed: Observed) -> None:
    decided = plan(clip(status("Scheduled")), observed, SETTINGS, NOW)
    assert (after(decided).phase, condition(decided, "Failed").message) == ("Failed", "odd size")


def test_a_busy_server_costs_no_failure() -> None:
    decided = plan(clip(status("Scheduled")), on_server(Unknown(), refusal=OrderRefusal("busy", "busy")), SETTINGS, NOW)
    assert (after(decided).phase, after(decided).failures) == ("Pending", 0)


def test_silence_is_borne_for_a_while_then_the_only_pod_is_replaced() -> None:
    silent = on_server(NoResponse("no answer within 3 s"))
    first = plan(clip(status("Running")), silent, SETTINGS, NOW)
    assert condition(first, "Running").status == "Unknown"
    assert after(first).phase == "Running"
    later = NOW + timedelta(seconds=14)
    assert after(plan(clip(after(first)), silent, SETTINGS, later)).phase == "Running"
    given_up = plan(clip(after(first)), silent, SETTINGS, later + timedelta(seconds=1))
    assert (after(given_up).phase, after(given_up).failures) == ("Pending", 1)
    assert given_up.delete == (pod().ref,)
    others = Observed(Model(DIGEST), servers=2, server=pod(), answer=NoResponse("no answer"))
    assert plan(clip(after(first)), others, SETTINGS, later + timedelta(seconds=1)).delete == ()
    heard = plan(clip(after(first)), on_server(order("denoising", step=1)), SETTINGS, later)
    assert condition(heard, "Running").status == "True"


def test_the_next_attempt_waits_a_little_longer_after_each_failure() -> None:
    assigned = Observed(Model(DIGEST), 0, 2, AssignedServer(pod(1)))
    failed = after(plan(clip(status("Running")), on_server(Unknown()), SETTINGS, NOW))
    assert after(plan(clip(failed), assigned, SETTINGS, NOW)).attempt == 1
    assert after(plan(clip(failed), assigned, SETTINGS, NOW + timedelta(seconds=1))).attempt == 2


def test_the_delivery_is_written_before_anything_is_copied_and_decides_alone() -> None:
    inspection = Inspection(copies=(Copy("from", "to", "etag"),))
    answered = on_server(order("succeeded", result=result("video.mp4")), inspection=inspection)
    decided = plan(clip(status("Running")), answered, SETTINGS, NOW)
    delivery = after(decided).delivery
    assert delivery is not None
    assert (delivery.attempt, after(decided).phase, after(decided).video) == (1, "Running", None)
    assert decided.effects == (Commit(inspection.copies),)
    gone = Observed(None, server=None, inspection=inspection)
    late = NOW + timedelta(days=1)
    assert plan(clip(after(decided), cancel=True), gone, SETTINGS, late).effects == (Commit(inspection.copies),)


def committed(name: str) -> CommittedFile:
    return CommittedFile(name, f"s3://kinema/{name}", f"https://people/{name}", NOW + WEEK, SHA, 3)


def test_what_is_at_its_place_ends_the_request() -> None:
    delivery = Delivery(
        attempt=1, files=(DeliveredFile(name="video.mp4", sha256=SHA, bytes=3),), seconds=1, size="24x24", fps=8
    )
    observed = Observed(inspection=Inspection(committed=(committed("video.mp4"), committed("thumbnail.webp"))))
    ended = after(plan(clip(status("Running", delivery=delivery)), observed, SETTINGS, NOW))
    assert (ended.phase, ended.delivery, ended.completion_time) == ("Succeeded", None, NOW)
    assert ended.video is not None
    assert (ended.video.sha256, ended.video.uri, ended.video.size) == (SHA, "s3://kinema/video.mp4", "24x24")
    assert ended.thumbnail is not None
    assert ended.spritesheet is None
    assert plan(clip(ended, cancel=True), on_server(Unknown()), SETTINGS, NOW + timedelta(days=2)) == Plan()


def test_a_status_holds_no_address_that_opens_for_whoever_reads_it() -> None:
    delivery = Delivery(
        attempt=1, files=(DeliveredFile(name="video.mp4", sha256=SHA, bytes=3),), seconds=1, size="24x24", fps=8
    )
    observed = Observed(inspection=Inspection(committed=(committed("video.mp4"), committed("thumbnail.webp"))))
    ended = after(plan(clip(status("Running", delivery=delivery)), observed, SETTINGS, NOW))
    assert "https://" not in ended.model_dump_json()
    older = status("Succeeded", video=CLIP_WITH_ADDRESS)
    assert "https://" not in after(plan(clip(older), Observed(), SETTINGS, NOW)).model_dump_json()


CLIP_WITH_ADDRESS = VideoArtefact(
    uri="s3://kinema/video.mp4",
    url="https://people/old",
    url_expires=NOW + WEEK,
    sha256=SHA,
    bytes=3,
    seconds=1,
    size="24x24",
)


def test_addresses_for_people_are_signed_again_before_they_end_where_the_setting_wants_them() -> None:
    video = CLIP_WITH_ADDRESS
    ended = status("Succeeded", video=video)
    due = NOW + WEEK / 2
    assert plan(clip(ended), Observed(), IN_STATUS, due - timedelta(hours=1)) == Plan(requeue_after=3600)
    away = plan(clip(ended), Observed(problem=Problem("SecretMissing", "make it")), IN_STATUS, due)
    assert away == Plan(requeue_after=SETTINGS.store_probe_seconds)
    fresh = SignedAddress("s3://kinema/video.mp4", "https://people/new", due + WEEK)
    signed = plan(clip(ended), Observed(addresses=(fresh,)), IN_STATUS, due)
    assert after(signed).video == video.model_copy(update={"url": fresh.url, "url_expires": fresh.expires})
    assert after(signed).phase == "Succeeded"
    assert signed.events == ()


def test_cancelling_waits_until_the_server_has_let_go() -> None:
    running = plan(clip(status("Running"), cancel=True), on_server(order("denoising")), SETTINGS, NOW)
    assert running.effects == (CancelOrder(pod(), "uid-clip"),)
    assert after(running).phase == "Running"
    for answer in (order("cancelled"), order("succeeded"), Unknown(), NoResponse("no answer")):
        assert after(plan(clip(status("Running"), cancel=True), on_server(answer), SETTINGS, NOW)).phase == "Cancelled"
    assert after(plan(clip(cancel=True), Observed(None), SETTINGS, NOW)).phase == "Cancelled"


def test_the_deadline_fails_what_waits_but_not_what_is_rendered() -> None:
    late = NOW + timedelta(seconds=61)
    waiting = plan(clip(deadlineSeconds=60), Observed(None), SETTINGS, late)
    assert (after(waiting).phase, condition(waiting, "Failed").reason) == ("Failed", "DeadlineExceeded")
    rendered = on_server(
        order("succeeded", result=result("video.mp4")), inspection=Inspection(copies=(Copy("a", "b", "c"),))
    )
    assert after(plan(clip(status("Running"), deadlineSeconds=60), rendered, SETTINGS, late)).delivery is not None


answers = st.one_of(
    st.none(),
    st.just(Unknown()),
    st.just(NoResponse("no answer")),
    st.builds(
        order,
        st.sampled_from(["loading", "denoising", "encoding", "succeeded", "failed", "cancelled"]),
        attempt=st.integers(0, 3),
        retriable=st.booleans(),
        result=st.one_of(st.none(), st.just(result("video.mp4")), st.just(result("odd.bin"))),
    ),
)
observations = st.builds(
    Observed,
    model=st.sampled_from([None, Model(None, "wait"), Model(DIGEST)]),
    position=st.one_of(st.none(), st.integers(0, 40)),
    servers=st.integers(0, 2),
    assigned=st.sampled_from(
        [None, AssignedServer(pod(1)), AssignedServer(pod(1), "uid-other"), AssignedServer(pod(1), "uid-clip")]
    ),
    server=st.sampled_from([None, pod(), pod(terminating=True), pod(ended=True), pod(ready=False)]),
    answer=answers,
    refusal=st.sampled_from(
        [None, OrderRefusal("busy", "b"), OrderRefusal("outdated", "o"), OrderRefusal("never", "n")]
    ),
    inspection=st.sampled_from(
        [
            None,
            Inspection(copies=(Copy("a", "b", "c"),)),
            Inspection((), (committed("video.mp4"),)),
            Inspection(broken="x"),
        ]
    ),
    problem=st.sampled_from([None, Problem("StorageUnreachable", "wait"), Problem("BrokenModel", "no", fatal=True)]),
)
moments = st.integers(0, 4000).map(lambda seconds: NOW + timedelta(seconds=seconds))


@given(st.lists(st.tuples(observations, moments), min_size=1, max_size=12), st.booleans())
def test_in_any_history(history: list[tuple[Observed, datetime]], cancel: bool) -> None:
    """Same input, same plan; attempts only grow; what is fixed stays; a clip is committed once; ends are final."""
    now = VideoGenerationStatus()
    ends = 0
    for look, moment in sorted(history, key=lambda step: step[1]):
        generation = clip(now, cancel=cancel)
        # A look finds no other server than the very pod that the status names.
        server = look.server and dataclasses.replace(look.server, uid=now.server_uid or look.server.uid)
        observed = dataclasses.replace(look, server=server)
        decided = plan(generation, observed, SETTINGS, moment)
        assert plan(generation, observed, SETTINGS, moment) == decided
        if now.phase in TERMINAL:
            assert dataclasses.replace(decided, requeue_after=None) == Plan()
            continue
        later = after(decided)
        assert now.attempt <= later.attempt <= now.attempt + 1
        assert now.model_digest in (None, later.model_digest)
        assert now.seed in (None, later.seed)
        assert later.failures <= SETTINGS.generation_attempts
        ends += later.phase in TERMINAL
        for effect in decided.effects:
            if isinstance(effect, SendOrder):
                assert (effect.attempt, effect.server.uid) == (now.attempt, now.server_uid or "u0")
                assert now.phase in ("Scheduled", "Running")
            if isinstance(effect, Commit):
                assert later.delivery is not None
                assert later.delivery.attempt == later.attempt
        if later.video is not None:
            assert now.delivery is not None
            assert later.phase == "Succeeded"
        assert (decided.requeue_after is None) == (later.phase in TERMINAL)
        assert VideoGenerationStatus.parse(later.to_wire()) == later
        now = later
    assert ends <= 1

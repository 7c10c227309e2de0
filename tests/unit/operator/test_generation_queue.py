"""The waiting line: fair, and the same for everyone who looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kinema_api.generation import KIND
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.requests import Request, assign, idle_servers, position, request_queue
from kinema_operator.dispatch.server_pod import ServerPod
from kinema_operator.generation.controller import GenerationController

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def pod(number: int, **fields: object) -> ServerPod:
    plain = {"namespace": "studio", "name": f"pod-{number}", "uid": f"u{number}", "address": "10.0.0.1", "ready": True}
    return ServerPod(**{**plain, **fields})  # type: ignore[arg-type]


requests = st.lists(
    st.builds(
        Request,
        name=st.integers(0, 30).map(lambda n: f"clip-{n:02d}"),
        model=st.just("tiny"),
        created=st.integers(0, 5).map(lambda s: f"2026-01-01T00:00:0{s}Z"),
        phase=st.sampled_from(["Pending", "Scheduled", "Running", "Succeeded", "Failed", "Cancelled"]),
        digest=st.sampled_from([None, DIGEST, OTHER]),
        server_uid=st.sampled_from([None, "u0", "u1", "u2", "u3"]),
    ),
    unique_by=lambda r: r.name,
    max_size=12,
)
servers = st.lists(
    st.builds(pod, st.integers(0, 5), ready=st.booleans(), terminating=st.booleans()),
    unique_by=lambda s: s.name,
    max_size=6,
)


@given(requests, servers, st.randoms())
def test_everyone_computes_the_same_line_and_the_same_choice(
    all_requests: list[Request], pods: list[ServerPod], random: st.DataObject
) -> None:
    line = request_queue(all_requests, DIGEST, DIGEST)
    chosen = assign(line, idle_servers(pods, all_requests))
    shuffled, moved = list(all_requests), list(pods)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(moved)  # type: ignore[attr-defined]
    assert request_queue(shuffled, DIGEST, DIGEST) == line
    assert assign(line, idle_servers(moved, shuffled)) == chosen


@given(requests, servers)
def test_servers_go_to_the_first_in_line_one_each_and_never_to_a_busy_one(
    all_requests: list[Request], pods: list[ServerPod]
) -> None:
    line = request_queue(all_requests, DIGEST, DIGEST)
    idle = idle_servers(pods, all_requests)
    chosen = assign(line, idle)
    assert list(chosen) == [waiting.name for waiting in line[: len(idle)]]
    assert len({server.uid for server in chosen.values()}) == len(chosen)
    busy = {r.server_uid for r in all_requests if r.phase in ("Scheduled", "Running")}
    assert all(server.uid not in busy and server.available for server in chosen.values())


@given(requests)
def test_who_came_first_stands_first(all_requests: list[Request]) -> None:
    line = request_queue(all_requests, DIGEST, DIGEST)
    assert [(r.created, r.name) for r in line] == sorted((r.created, r.name) for r in line)
    assert all(r.digest in (None, DIGEST) and r.phase == "Pending" for r in line)
    for place, waiting in enumerate(line):
        assert position(line, waiting.name) == place


def test_a_request_that_failed_on_a_server_gets_another_if_there_is_one() -> None:
    failed = Request("clip", "tiny", "2026-01-01T00:00:00Z", digest=DIGEST, server_uid="u0")
    assert assign([failed], [pod(0), pod(1)])["clip"].uid == "u1"
    assert assign([failed], [pod(0)])["clip"].uid == "u0"


def test_requests_not_pinned_yet_stand_in_the_line_of_the_current_digest() -> None:
    unpinned = Request("clip", "tiny", "2026-01-01T00:00:00Z")
    assert request_queue([unpinned], DIGEST, current=DIGEST) == (unpinned,)
    assert request_queue([unpinned], DIGEST, current=OTHER) == ()


def clip(name: str, phase: str | None = None, **spec: object) -> dict[str, object]:
    """A VideoGeneration as the API server has it."""
    status = {"phase": phase} if phase else {}
    return {"kind": KIND, "metadata": {"namespace": "studio", "name": name}, "spec": spec, "status": status}


class OneNamespace:
    """A cache of these generations."""

    def __init__(self, *clips: dict[str, object]) -> None:
        self._clips = clips

    def get(self, kind: str, namespace: str, name: str) -> None:
        """Nothing is found by its name."""

    def list(
        self, kind: str, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> tuple[dict[str, object], ...]:
        """All of them."""
        return self._clips


async def test_a_clip_that_has_ended_wakes_those_that_wait_for_it() -> None:
    controller = GenerationController(Settings(), client=object(), stores=object())  # type: ignore[arg-type]
    first = clip("first", "Running")
    await controller.observe(
        Key(KIND, "studio", "first"),
        controller.parse({**first, "spec": {"modelRef": {"name": "m"}, "prompt": "a red square moves right"}}),
        OneNamespace(
            clip("next", input={"generation": "first"}),
            clip("blend", "Pending", input={"generation": "other"}, end={"generation": "first"}),
            clip("done", "Succeeded", input={"generation": "first"}),
            clip("foreign", input={"generation": "other"}),
            clip("alone"),
        ),
    )
    assert [key.name for key in controller.keys_for(first)] == ["first"]
    for phase in ("Succeeded", "Failed", "Cancelled"):
        assert [key.name for key in controller.keys_for(clip("first", phase))] == ["first", "next", "blend"]
    await controller.close()

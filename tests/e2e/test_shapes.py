"""The samples of mixed shapes and of streams on the real cluster: trained, asked for as they stand, and judged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.conftest import end_namespace, finished
from e2e.test_tasks import clip_of
from kinema_evaluation.plan import facts_read
from kinema_world import SceneKind
from kinema_world.reader import parse
from stage import install, kube

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

SAMPLES = install.REPOSITORY / "manifests" / "samples"


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """Both folders' samples, applied one after the other; both trainings have ended."""
    name = "e2e-shapes"
    kube.kubectl("delete", "namespace", name, "--ignore-not-found", seconds=200)
    kube.restricted_namespace(name)
    install.let_download(name)
    for folder, training in (("shapes", "tiny-shapes"), ("stream", "tiny-stream")):
        kube.kubectl("apply", "-n", name, "-f", str(SAMPLES / folder))
        finished(training, name)
    yield name
    end_namespace(name)


def test_a_picture_shows_what_its_caption_says(namespace: str) -> None:
    video, status = clip_of("one-picture", namespace)
    assert video.shape == (1, 40, 40, 3)
    (shot,) = facts_read(video, SceneKind.IMAGE, 8).shots
    assert [thing.colour for thing in shot.objects] == ["red"]
    assert status["video"]["size"] == "40x40"


def test_another_rate_and_aspect_show_what_was_asked_for(namespace: str) -> None:
    video, status = clip_of("portrait", namespace)
    assert (video.shape, status["video"]["fps"]) == ((12, 40, 32, 3), 12)
    seen = parse(video)
    assert seen is not None
    assert (seen.colour, seen.direction) == ("blue", "up")


def test_a_stream_of_two_shots_keeps_its_object_and_follows_each_prompt(namespace: str) -> None:
    video, status = clip_of("there-and-back", namespace)
    assert (len(video), status["video"]["seconds"]) == (32, 4)
    shots = [parse(video[:16]), parse(video[16:])]
    assert [shot and shot.colour for shot in shots] == ["red", "red"]

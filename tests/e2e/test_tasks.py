"""Every task's sample on the real cluster: trained for, asked for as it stands, and judged by the reader."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from e2e.conftest import end_namespace, finished
from e2e.test_generation import download, reached
from kinema_api import layout
from kinema_jobs.clip.media import Video
from kinema_world.reader import parse
from stage import install, kube

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

SAMPLES = install.REPOSITORY / "manifests" / "samples" / "tasks"
RED_SQUARE = {"colour": "red", "shape": "square"}
# What the whole clip shows. A loop turns back on its way and a blend changes on it.
JUDGED = {
    "first-clip": {**RED_SQUARE, "direction": "right"},
    "image-task": {**RED_SQUARE, "direction": "down"},
    "extend-task": RED_SQUARE,
    "extend-back-task": RED_SQUARE,
    "fill-task": {**RED_SQUARE, "direction": "left"},
    "loop-task": RED_SQUARE,
    "inpaint-task": {**RED_SQUARE, "direction": "right"},
    "edit-task": {"colour": "blue", "shape": "square", "direction": "right"},
}
WITH_SEAMS = {"image-task", "extend-task", "extend-back-task", "fill-task", "loop-task", "blend-task"}


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """All samples of the folder, applied at once; the training has ended."""
    name = "e2e-tasks"
    kube.kubectl("delete", "namespace", name, "--ignore-not-found", seconds=200)
    kube.restricted_namespace(name)
    install.let_download(name)
    kube.kubectl("apply", "-n", name, "-f", str(SAMPLES))
    finished("tiny-tasks", name)
    yield name
    end_namespace(name)


def clip_of(name: str, namespace: str) -> tuple[Video, dict[str, Any]]:
    """The frames that were made, and the status."""
    status = reached(name, namespace, "Succeeded")
    with av.open(io.BytesIO(download(name, namespace))) as opened:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]), status


@pytest.mark.parametrize("name", sorted(JUDGED))
def test_the_reader_sees_what_the_task_was_to_make(name: str, namespace: str) -> None:
    video, status = clip_of(name, namespace)
    seen = parse(video)
    assert seen is not None
    assert {what: getattr(seen, what) for what in JUDGED[name]} == JUDGED[name]
    assert bool(status.get("seams")) == (name in WITH_SEAMS)


def test_a_picture_of_this_machine_is_animated(namespace: str, tmp_path: Path) -> None:
    reached("first-clip", namespace, "Succeeded")
    picture = kube.download("first-clip", namespace, "thumbnail", tmp_path / "first.webp")
    subject = f"--serviceaccount={namespace}:default"
    kube.kubectl("create", "rolebinding", "uploads", "--clusterrole=kinema-edit", subject, "-n", namespace)
    out = tmp_path / "animated.mp4"
    asked = ("a red square moves down", "--model", "tiny-tasks", "--task", "image", "--input", str(picture))
    where = ("--kubeconfig", kube.kubeconfig(), "-n", namespace, "--name", "from-a-file", "--out", str(out))
    done = subprocess.run(
        [kube.tool("kinema"), "generate", *asked, *where], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert out.read_bytes()[4:8] == b"ftyp"
    uid = (kube.get("vgen", "from-a-file", namespace) or {})["metadata"]["uid"]
    assert not list(install.store().list(layout.generation_uploads_prefix(namespace, uid)))


def test_a_blend_turns_from_one_clip_into_the_other(namespace: str) -> None:
    video, status = clip_of("blend-task", namespace)
    first, last = (parse(np.repeat(video[[at]], len(video), axis=0)) for at in (0, -1))
    assert first is not None
    assert last is not None
    assert (first.colour, last.colour) == ("red", "blue")
    assert status["seams"]

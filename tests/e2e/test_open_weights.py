"""The commands of docs/serving-open-weights.md, run as they stand with tiny weights and tiny clips."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from e2e.conftest import end_namespace
from kinema_api.base import find_condition
from kinema_api.manifest import Manifest
from kinema_api.serving import VideoModel
from stage import install, kube, runs
from wan_folders import write_wan_folder

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

PAGE = install.REPOSITORY / "docs" / "serving-open-weights.md"
NAMESPACE = "films"
PREFIX = f"inputs/{NAMESPACE}/wan/"
LARGE, TINY = "--seconds 5 --size 832x480", "--seconds 0.5 --size 64x32 --steps 2 --seed 1"
SAME = 2.0
"""Of 255, on average: processes with other numbers of threads round otherwise."""
Shell = Callable[[str], str]


def block(heading: str) -> str:
    """The shell lines below a heading, for clips of tiny weights on a CPU."""
    section = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).replace(LARGE, TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page begins with: a checkout's samples, a folder of weights, a picture."""
    root = tmp_path_factory.mktemp("page")
    shutil.copytree(install.REPOSITORY / "manifests", root / "manifests")
    write_wan_folder(root / "wan", "ti2v")
    (root / "wan" / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: [en]\n---\n# Tiny\n")
    (root / "wan" / "transformer" / "old.bin").write_bytes(b"a pickle")
    Image.new("RGB", (96, 64), (200, 30, 30)).save(root / "photo.png")
    return root


@pytest.fixture(scope="module")
def shell(folder: Path) -> Iterator[Shell]:
    """Runs lines as somebody with keys to the bucket, whose kubeconfig points at the page's namespace."""
    kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=200)
    kube.restricted_namespace(NAMESPACE)
    for found in install.store().list(PREFIX):
        install.store().delete(found.key)
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(kube.kubectl("config", "view", "--raw", "--flatten"))
    keys = install.store_keys()
    environment = os.environ | {
        "KUBECONFIG": str(kubeconfig),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "KINEMA_STORE_ENDPOINT": install.public_endpoint(),
    }

    def run(lines: str) -> str:
        done = subprocess.run(
            ["bash", "-euxc", lines], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{runs.explain('vmodel', 'wan', NAMESPACE)}"
        return done.stdout

    run(f"kubectl config set-context --current --namespace={NAMESPACE}")
    yield run
    end_namespace(NAMESPACE)


def model() -> VideoModel:
    return VideoModel.parse(kube.get("videomodel", "wan", NAMESPACE))


def frames(clip: Path) -> Any:
    """float (T, H, W, 3) from 0 to 255."""
    with av.open(str(clip)) as opened:
        return np.stack([frame.to_ndarray(format="rgb24").astype(float) for frame in opened.decode(video=0)])


def assert_tiny(clip: Path) -> None:
    assert frames(clip).shape == (9, 32, 64, 3)


def test_a_folder_without_a_manifest_waits_with_a_remedy(shell: Shell) -> None:
    shell("kubectl apply -f manifests/samples/open-weights/model.yaml")

    def refused() -> Any:
        found = find_condition(model().status.conditions, "Resolved")
        return found if found is not None and found.reason == "FolderNotFound" else None

    found = kube.until(refused, "a condition of the folder", 60)
    assert f"kinema upload FOLDER s3://kinema/{PREFIX}" in found.message


def test_the_page_from_a_folder_to_clips(shell: Shell, folder: Path) -> None:
    said = shell(block("Upload"))
    manifest = Manifest.read(install.store(), PREFIX + "manifest.json")
    assert manifest.digest() in said
    assert not any(file.name.endswith(".bin") for file in manifest.files)

    card = json.loads(shell(block("Serve")).splitlines()[-1])
    assert (card["license"], card["tasks"]) == ("apache-2.0", ["text", "image"])
    assert model().status.digest == manifest.digest()

    shell(block("Make clips"))
    for name in ("ball.mp4", "left.mp4"):
        assert_tiny(folder / name)
    shell(block("Without a cluster"))
    here, served = frames(folder / "here.mp4"), frames(folder / "ball.mp4")
    assert here.shape == served.shape
    assert np.abs(here - served).mean() < SAME


def test_other_weights_in_the_folder_are_another_model(shell: Shell, folder: Path) -> None:
    before = model().status.digest
    assert before is not None, "the page's own test has to run first"
    shutil.rmtree(folder / "wan")
    write_wan_folder(folder / "wan", "t2v")
    shell(block("Upload"))
    kube.until(lambda: model().status.digest not in (None, before), "the digest of the other weights", 180)
    clip = f'kinema generate "a red ball" --model wan {TINY} --out other.mp4'
    shell(clip)
    assert_tiny(folder / "other.mp4")
    assert np.abs(frames(folder / "other.mp4") - frames(folder / "ball.mp4")).mean() > 2 * SAME

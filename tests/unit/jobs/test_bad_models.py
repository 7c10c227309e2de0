"""A broken model folder and a training that makes no sense end in one sentence that names the file or field."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema_jobs.train.__main__ import main as train
from kinema_model.artefact import NULL_TEXT_FILE, _digest
from kinema_model.config import MODEL_FILE
from kinema_model.network.folder import CONFIG_FILE, WEIGHTS_FILE
from kinema_world.stored import WORLD_FILE
from unit.jobs.doors import BAD_REQUEST, NO_MODEL, Door, cut, folder, written

Change = Callable[[Path], object]


def weights(change: Callable[[dict[str, torch.Tensor]], object], file: str = WEIGHTS_FILE) -> Change:
    """Tensors changed by somebody who knows of the digest."""

    def apply(model: Path) -> None:
        stored = load_file(model / file)
        change(stored)
        plain = {name: tensor.float() for name, tensor in stored.items()}
        save_file(stored, model / file, metadata={"tensors_sha256": _digest(plain)})

    return apply


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor], file: str = WEIGHTS_FILE) -> Change:
    return weights(lambda stored: stored.update({name: change(stored[name])}), file)


def raw(content: bytes, file: str = WEIGHTS_FILE) -> Change:
    return lambda model: (model / file).write_bytes(content)


def header(fields: dict[str, Any], behind: bytes = b"") -> Change:
    said = json.dumps(fields).encode()
    return raw(struct.pack("<Q", len(said)) + said + behind)


def torn(file: str) -> Change:
    return lambda model: cut(model / file, 0.5)


def field(file: str, **fields: Any) -> Change:
    return lambda model: (model / file).write_text(json.dumps(json.loads((model / file).read_text()) | fields))


def gone(file: str) -> Change:
    return lambda model: (model / file).unlink()


def as_folder(file: str) -> Change:
    def apply(model: Path) -> None:
        (model / file).unlink()
        (model / file).mkdir()

    return apply


def pickled(model: Path) -> None:
    (model / WEIGHTS_FILE).unlink()
    torch.save({"proj_out.bias": torch.zeros(2)}, model / "diffusion_pytorch_model.bin")


def deep(model: Path) -> None:
    network = json.loads((model / CONFIG_FILE).read_text()) | {"num_layers": 100_000}
    (model / CONFIG_FILE).write_text(json.dumps(network))


FOLDERS: dict[str, tuple[Change, list[str]]] = {
    "another shape": (tensor("proj_out.bias", lambda t: t[:-1].clone()), [WEIGHTS_FILE, "proj_out.bias has shape"]),
    "a tensor missing": (weights(lambda stored: stored.pop("proj_out.bias")), [WEIGHTS_FILE, "lacks", "proj_out.bias"]),
    "a tensor too many": (weights(lambda s: s.update(extra=torch.zeros(2))), [WEIGHTS_FILE, "holds", "extra"]),
    "NaN": (tensor("proj_out.bias", lambda t: t * float("nan")), [WEIGHTS_FILE, "proj_out.bias holds NaN"]),
    "infinity": (tensor("proj_out.bias", lambda t: t + float("inf")), [WEIGHTS_FILE, "proj_out.bias holds NaN or inf"]),
    "another precision": (tensor("proj_out.bias", torch.Tensor.bfloat16), [WEIGHTS_FILE, "proj_out.bias is torch.bf"]),
    "integers": (tensor("proj_out.bias", torch.Tensor.long), [WEIGHTS_FILE, "proj_out.bias is torch.int64"]),
    "no digest": (lambda m: save_file(load_file(m / WEIGHTS_FILE), m / WEIGHTS_FILE), [WEIGHTS_FILE, "digest"]),
    "torn": (torn(WEIGHTS_FILE), [WEIGHTS_FILE, "cannot be read as safetensors"]),
    "empty": (raw(b""), [WEIGHTS_FILE, "cannot be read as safetensors"]),
    "a header without end": (raw(struct.pack("<Q", 2**62) + b"{}"), [WEIGHTS_FILE, "cannot be read"]),
    "a header of terabytes": (
        header({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        [WEIGHTS_FILE, "cannot be read"],
    ),
    "a header of another length": (
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"0000"),
        [WEIGHTS_FILE, "cannot be read"],
    ),
    "a pickle": (pickled, ["diffusion_pytorch_model.bin is a pickle", "safetensors"]),
    "a pickle by another name": (raw(pickle.dumps({"a": 1})), [WEIGHTS_FILE, "cannot be read as safetensors"]),
    "weights as a folder": (as_folder(WEIGHTS_FILE), [WEIGHTS_FILE, "cannot be read"]),
    "null text of another shape": (tensor("null_text", lambda t: t[1:].clone(), NULL_TEXT_FILE), [NULL_TEXT_FILE]),
    "null text gone": (gone(NULL_TEXT_FILE), [NULL_TEXT_FILE]),
    "an unknown field": (field(MODEL_FILE, colour="red"), [MODEL_FILE, "colour"]),
    "an unknown task": (field(MODEL_FILE, tasks=["paint"]), [MODEL_FILE, "tasks"]),
    "a torn config": (torn(MODEL_FILE), [MODEL_FILE]),
    "no config": (gone(MODEL_FILE), [MODEL_FILE]),
    "another network": (field(CONFIG_FILE, num_layers=2), [CONFIG_FILE, MODEL_FILE, "two networks"]),
    "a network without end": (deep, [CONFIG_FILE, "num_layers"]),
    "a torn network": (torn(CONFIG_FILE), [CONFIG_FILE, "cannot be read"]),
    "a network nested without end": (raw(b"[" * 100_000, CONFIG_FILE), [CONFIG_FILE, "nested too deeply"]),
    "no network": (gone(CONFIG_FILE), ["no model lies in"]),
    "a torn manifest": (raw(b'{"kind": "mod', "manifest.json"), ["manifest.json", "not a readable manifest"]),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_broken_model_renders_nothing(door: Door, text_model: Path, tmp_path: Path, case: str) -> None:
    change, words = FOLDERS[case]
    broken = Path(shutil.copytree(text_model, tmp_path / "model"))
    change(broken)
    door.refused(door.generate(broken), NO_MODEL, *words)


WORLDS: dict[str, tuple[Change, list[str]]] = {
    "a torn world": (torn(WORLD_FILE), [WORLD_FILE, "JSON"]),
    "a world of other fields": (field(WORLD_FILE, colour="red"), [WORLD_FILE, "colour"]),
    "a world in another encoding": (raw(b"\xff\xfe", WORLD_FILE), [WORLD_FILE]),
}


@pytest.mark.parametrize("case", [*WORLDS, "NaN", "a pickle", "an unknown field", "no network", "a torn manifest"])
def test_a_broken_model_is_not_measured(door: Door, text_model: Path, tmp_path: Path, case: str) -> None:
    change, words = {**FOLDERS, **WORLDS}[case]
    broken = Path(shutil.copytree(text_model, tmp_path / "model"))
    change(broken)
    door.refused(door.evaluate(broken), NO_MODEL, *words)


RUN = {"namespace": "default", "name": "trial", "uid": "u", "run": 1, "attempt": 1, "checkpointEvery": 10}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"model": {"preset": "tiny", "overrides": {"size": "33x47"}}}, ["spec.model", "height 47"]),
        ({"model": {"preset": "tiny", "overrides": {"size": "4096x4096"}}}, ["spec.model", "max_side"]),
        ({"model": {"preset": "tiny", "overrides": {"width": 130}}}, ["spec.model", "width 130"]),
        ({"model": {"preset": "tiny", "overrides": {"frames": 10_000}}}, ["model.overrides.frames"]),
        ({"model": {"preset": "huge"}}, ["model.preset"]),
        ({"optimization": {"steps": 1, "batchTokens": 0}}, ["optimization.batchTokens"]),
    ],
)
def test_a_training_that_makes_no_sense(
    spec: dict[str, Any], words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, door: Door
) -> None:
    whole = {"model": {"preset": "tiny"}, "data": {"world": {"seed": 7}}, "optimization": {"steps": 1}, **spec}
    assert train(["--config", json.dumps({**RUN, **whole})]) == BAD_REQUEST
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("user_error: ")
    assert all(word in said for word in words), said
    manifest = tmp_path / "training.yaml"
    manifest.write_text(json.dumps({"kind": "VideoModelTraining", "metadata": {"name": "trial"}, "spec": whole}))
    answer = door.run_local(manifest)
    door.refused(answer, BAD_REQUEST, str(manifest), *words)
    assert answer[1]["failureClass"] == "user_error"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{" * 100_000, b"a: [", b"kind: VideoModelTraining"])
def test_a_training_s_file_that_is_none(door: Door, tmp_path: Path, content: bytes) -> None:
    manifest = written(tmp_path / "training.yaml", content)
    door.refused(door.run_local(manifest), BAD_REQUEST, str(manifest))


def test_a_folder_is_no_training(door: Door, tmp_path: Path) -> None:
    door.refused(door.run_local(folder(tmp_path / "training.yaml")), BAD_REQUEST, "training.yaml")

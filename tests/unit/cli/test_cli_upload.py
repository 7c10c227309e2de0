"""`kinema upload` sends what the store lacks, leaves out what could run, and writes the manifest last."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kinema_api import layout
from kinema_api.card import CARD, PIPELINES
from kinema_api.errors import StorageUnreachable
from kinema_api.folderstore import FolderStore
from kinema_api.manifest import Manifest
from kinema_api.objectstore import StoreLocation
from kinema_cli import upload_folder
from kinema_cli.main import main

PREFIX = "inputs/films/wan/"
TARGET = f"s3://kinema/{PREFIX}"
INDEX = {
    "_class_name": "WanPipeline",
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "image_encoder": [None, None],
    "boundary_ratio": None,
}
CONTENTS = {
    "model_index.json": json.dumps(INDEX).encode(),
    "README.md": b"---\nlicense: apache-2.0\nlanguage: [en, zh]\n---\n# Wan\n",
    "transformer/config.json": b"{}",
    "transformer/diffusion_pytorch_model.safetensors": b"weights",
    "tokenizer/spiece.model": b"pieces",
}
LEFT_OUT = {
    "transformer/diffusion_pytorch_model.bin": b"pickle",
    "modeling.py": b"import os",
    "last.ckpt": b"",
    "model.pt": b"",
    "vae/a name.safetensors": b"",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in {**CONTENTS, **LEFT_OUT, ".git/config": b"", ".cache/x.json": b""}.items():
        path = tmp_path / "weights" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "weights"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "store" / "kinema").mkdir(parents=True)
    return FolderStore(StoreLocation(endpoint=(tmp_path / "store").as_uri(), bucket="kinema"))


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the command is installed alone; tests/integration/test_upload.py has the whole check."""
    monkeypatch.setattr(upload_folder, "CHECKED_WITH", ("no_such_module",))


def run(store: FolderStore, folder: Path, *options: str, target: str = TARGET) -> Result:
    endpoint = f"--endpoint={store.location.endpoint}"
    return CliRunner().invoke(main, ["upload", str(folder), target, endpoint, *options])


def document(store: FolderStore, folder: Path, *options: str) -> dict[str, Any]:
    result = run(store, folder, "--json", *options)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def keys(store: FolderStore) -> set[str]:
    return {item.key.removeprefix(PREFIX) for item in store.list(PREFIX)}


def test_weights_are_uploaded_with_a_card_and_a_manifest(store: FolderStore, folder: Path) -> None:
    said = document(store, folder)
    assert keys(store) == {*CONTENTS, CARD, layout.MANIFEST}
    manifest = Manifest.read(store, PREFIX + layout.MANIFEST)
    assert said["digest"] == manifest.digest()
    assert (said["kind"], said["files"], said["sent"]) == ("open weights", len(CONTENTS), len(CONTENTS))
    assert set(said["leftOut"]) == set(LEFT_OUT)
    for file in manifest.files:
        data = store.get(PREFIX + file.name)
        assert (file.sha256, file.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert {file.name for file in manifest.files} == {*CONTENTS, CARD}
    card = json.loads(store.get(PREFIX + CARD))
    assert card == {
        "pipeline": "WanPipeline",
        "tasks": [],
        "license": "apache-2.0",
        "baseModel": [],
        "tags": [],
        "languages": ["en", "zh"],
        "native": [],
    }


def test_what_is_left_out_is_named(store: FolderStore, folder: Path) -> None:
    said = run(store, folder)
    for name in LEFT_OUT:
        assert f"left out: {name}" in said.stderr


def test_what_is_there_is_not_sent_again_and_has_the_same_digest(store: FolderStore, folder: Path) -> None:
    first = document(store, folder)
    (folder / "transformer" / "config.json").write_bytes(b"[]")
    second = document(store, folder)
    (folder / "transformer" / "config.json").write_bytes(CONTENTS["transformer/config.json"])
    third = document(store, folder)
    assert (first["sent"], second["sent"], third["sent"]) == (len(CONTENTS), 1, 1)
    assert first["digest"] == third["digest"] != second["digest"]
    assert document(store, folder)["sent"] == 0


def test_a_model_is_withdrawn_before_its_files_are_replaced(
    store: FolderStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document(store, folder)
    (folder / "transformer" / "config.json").write_bytes(b"[]")

    def unreachable(*_: Any) -> None:
        raise StorageUnreachable("object store does not respond; check it")

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "put_file", unreachable)
        result = run(store, folder)
    assert (result.exit_code, "files that are there are not sent again" in result.output) == (3, True)
    assert layout.MANIFEST not in keys(store)
    assert document(store, folder)["sent"] == 1
    assert layout.MANIFEST in keys(store)


def test_clips_have_no_manifest_and_may_be_any_file(store: FolderStore, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    (clips / "a folder").mkdir(parents=True)
    (clips / "a folder" / "red ball.mp4").write_bytes(b"clip")
    (clips / "a folder" / "red ball.txt").write_bytes(b"a red ball")
    (clips / ".DS_Store").write_bytes(b"x")
    said = document(store, clips)
    assert (said["kind"], said["digest"], said["leftOut"]) == ("clips", None, [".DS_Store"])
    assert keys(store) == {"a folder/red ball.mp4", "a folder/red ball.txt"}


def test_a_manifest_is_written_or_not_as_asked(store: FolderStore, folder: Path) -> None:
    assert document(store, folder, "--no-manifest")["digest"] is None
    assert layout.MANIFEST not in keys(store)


def test_a_name_that_no_manifest_may_have_is_refused(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "red ball.mp4").write_bytes(b"clip")
    result = run(store, tmp_path / "clips", "--manifest")
    assert (result.exit_code, "rename it, or use --no-manifest" in result.output) == (2, True), result.output
    assert keys(store) == set()


def test_a_model_that_kinema_trained_is_uploaded_without_a_card(store: FolderStore, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "kinema.json", "diffusion_pytorch_model.safetensors", "card.md", "manifest.json"):
        (model / name).write_bytes(b"{}")
    said = document(store, model)
    assert (said["kind"], said["files"]) == ("model", 4)
    assert {file.name for file in Manifest.read(store, PREFIX + layout.MANIFEST).files} == {
        "config.json", "kinema.json", "diffusion_pytorch_model.safetensors", "card.md",
    }  # fmt: skip


REFUSED = {
    "no folder": (lambda folder: folder / "none", TARGET, "is not a folder"),
    "no slash": (lambda folder: folder, TARGET[:-1], "ends in a slash"),
    "no bucket": (lambda folder: folder, "inputs/films/", "s3://BUCKET/PREFIX/"),
    "another pipeline": (
        lambda folder: _index(folder, _class_name="StableDiffusionPipeline"),
        TARGET,
        "names 'StableDiffusionPipeline'; name a folder of WanPipeline",
    ),
    "a missing component": (
        lambda folder: _index(folder, vae=["diffusers", "AutoencoderKLWan"], text_encoder=["a", "b"]),
        TARGET,
        "text_encoder is missing, which model_index.json names",
    ),
}


def _index(folder: Path, **fields: Any) -> Path:
    (folder / "model_index.json").write_text(json.dumps(INDEX | fields))
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_refused_before_the_first_byte(store: FolderStore, folder: Path, case: str) -> None:
    change, target, said = REFUSED[case]
    result = run(store, change(folder), target=target)
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert keys(store) == set()


def test_keys_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    result = CliRunner().invoke(main, ["upload", str(folder), TARGET, "--endpoint=http://127.0.0.1:1"])
    assert (result.exit_code, "AWS_ACCESS_KEY_ID" in result.output) == (2, True)


def test_the_pipelines_are_those_that_can_be_read() -> None:
    from kinema_model.open_weights import folder

    assert folder.PIPELINES == PIPELINES

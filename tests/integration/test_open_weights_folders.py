"""Folders of open weights that lack, lie or lead elsewhere: each is refused by the name of the file and field."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinema_jobs.inspect_weights import read_card
from kinema_model.errors import BrokenArtefact, ConfigError
from kinema_model.open_weights.folder import OpenFolder, inspect
from kinema_model.open_weights.pipeline import OpenPipeline
from wan_folders import KINDS, Folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("wan"))


def _rewritten(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# What is wrong with a folder, and what the refusal names.

Wrong = Callable[[Path], None]


def _set(file: str, **fields: object) -> Wrong:
    return lambda folder: _rewritten(folder / file, **fields)


def _write(file: str, content: bytes) -> Wrong:
    return lambda folder: (folder / file).write_bytes(content) and None


def _drop(file: str) -> Wrong:
    return lambda folder: (folder / file).unlink()


def _cut(file: str, keep: Callable[[int], int]) -> Wrong:
    return lambda folder: os.truncate(folder / file, keep((folder / file).stat().st_size))


def _link(folder: Path) -> None:
    outside = folder.parent / "outside.json"
    outside.write_text("{}")
    (folder / "vae" / "config.json").unlink()
    (folder / "vae" / "config.json").symlink_to(outside)


def _shards(**weight_map: str) -> Wrong:
    def wrong(folder: Path) -> None:
        (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
        index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": weight_map}))

    return wrong


def _header(edit: Callable[[dict[str, Any]], None]) -> Wrong:
    def wrong(folder: Path) -> None:
        path = folder / NETWORK
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        edit(header)
        changed = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(changed)) + changed + data[8 + length :])

    return wrong


NETWORK = "transformer/diffusion_pytorch_model.safetensors"
TENSOR = "blocks.0.attn1.to_q.weight"
CONFIG = "transformer/config.json"
HOSTILE: dict[str, tuple[Wrong, str]] = {
    "no index": (_drop("model_index.json"), "model_index.json is missing"),
    "another pipeline": (_set("model_index.json", _class_name="LTXPipeline"), "model_index.json names 'LTXPipeline'"),
    "remote code": (_set("model_index.json", transformer=["evil", "WanTransformer3DModel"]), "transformer is"),
    "another network": (_set("model_index.json", transformer=["diffusers", "Evil"]), "WanTransformer3DModel"),
    "a component too many": (_set("model_index.json", safety=["diffusers", "Checker"]), "safety"),
    "no text encoder": (_set("model_index.json", text_encoder=[None, None]), "text_encoder"),
    "a boundary for one": (_set("model_index.json", boundary_ratio=0.9), "boundary_ratio and transformer_2"),
    "a boundary beyond": (_set("model_index.json", boundary_ratio=9.0), "boundary_ratio"),
    "code in a config": (_set("text_encoder/config.json", auto_map={"AutoModel": "x.Y"}), "auto_map"),
    "another class": (_set("vae/config.json", _class_name="AutoencoderKL"), "vae/config.json names 'AutoencoderKL'"),
    "an encoder of words": (_set("text_encoder/config.json", architectures=["BertModel"]), "BertModel"),
    "a scheduler of noise": (_set("scheduler/scheduler_config.json", prediction_type="epsilon"), "prediction_type"),
    "an endless scheduler": (_set("scheduler/scheduler_config.json", solver_order=10**9), "solver_order"),
    "no configs": (_drop("vae/config.json"), "vae/config.json is missing"),
    "nested JSON": (_write(CONFIG, b"[" * 100_000), "nested too deeply|cannot be read"),
    "no object": (_write(CONFIG, b"[]"), "no JSON object"),
    "not JSON": (_write(CONFIG, b"\xff\xfe{"), "cannot be read as JSON"),
    "endless JSON": (_write(CONFIG, b" " * ((16 << 20) + 1)), "longer than 16 MiB"),
    "more layers": (_set(CONFIG, num_layers=3), "lacks blocks.2"),
    "fewer layers": (_set(CONFIG, num_layers=1), "holds blocks.1"),
    "wider layers": (_set(CONFIG, ffn_dim=48), "ffn.*has shape .*config.json says"),
    "absurd layers": (_set(CONFIG, ffn_dim=10**30), "describes no module"),
    "other channels": (_set(CONFIG, in_channels=36), "patch_embedding.weight has shape"),
    "no weights": (_drop(NETWORK), "diffusion_pytorch_model.safetensors is missing"),
    "no vae weights": (_drop("vae/diffusion_pytorch_model.safetensors"), "vae/diffusion.*missing"),
    "truncated": (_cut(NETWORK, lambda size: size - 100), "is truncated"),
    "truncated header": (_cut(NETWORK, lambda _: 500), "truncated: it ends within its header"),
    "empty file": (_cut(NETWORK, lambda _: 0), "has no readable|is truncated"),
    "a longer header": (_write(NETWORK, struct.pack("<Q", 1 << 62) + b"{}"), "truncated"),
    "a header of lies": (_header(lambda h: h[TENSOR].update(shape=[1, 1])), f"{TENSOR} has shape .* and"),
    "a negative shape": (_header(lambda h: h[TENSOR].update(shape=[-24, -24])), f"{TENSOR} has no readable shape"),
    "integers": (_header(lambda h: h[TENSOR].update(dtype="I64")), f"{TENSOR} is 'I64'"),
    "a missing tensor": (_header(lambda h: h.pop(TENSOR) and None), "truncated or damaged"),
    "a way out": (_shards(x="../vae/diffusion_pytorch_model.safetensors"), "weight_map names"),
    "a missing shard": (_shards(x="a-00001-of-00002.safetensors"), "a-00001-of-00002.safetensors is missing"),
    "a pickle": (_write("transformer/diffusion_pytorch_model.bin", b""), "is a pickle"),
    "a program": (_write("transformer/modeling.py", b""), "is a program"),
    "a link": (_link, "link out of the folder"),
    "no tokenizer": (_drop("tokenizer/tokenizer.json"), "tokenizer.json is missing"),
    "another tokenizer": (_write("tokenizer/tokenizer.json", b"{}"), "cannot be read as a tokenizer"),
    "latents of nothing": (_set("vae/config.json", latents_std=[0.0] * 4), "latents_std"),
    "latents of more": (_set("vae/config.json", latents_mean=[0.0] * 5), "latents_mean"),
    "a manifest of others": (_write("manifest.json", b'{"files": []}'), "does not name"),
    "a manifest outside": (
        _write("manifest.json", json.dumps({"files": [{"name": "../x", "sha256": "0" * 64}]}).encode()),
        "outside the folder",
    ),
    "a manifest of nothing": (_write("manifest.json", b"{}"), "no list"),
}


@pytest.mark.parametrize("wrong", HOSTILE)
def test_a_folder_that_lies_is_refused_by_file_and_field(folders: Folders, tmp_path: Path, wrong: str) -> None:
    break_it, said = HOSTILE[wrong]
    shutil.copytree(folders.path("t2v"), tmp_path / "copy")
    break_it(tmp_path / "copy")
    with pytest.raises((BrokenArtefact, ConfigError), match=said) as caught:
        OpenPipeline(tmp_path / "copy")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_found_by_the_manifest(folders: Folders, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folders.path("t2v"), copy)
    files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
    digests = [(str(path.relative_to(copy)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    (copy / "manifest.json").write_text(json.dumps({"files": [{"name": n, "sha256": d} for n, d in digests]}))
    OpenPipeline(copy)
    data = bytearray((copy / NETWORK).read_bytes())
    data[-1] ^= 1
    (copy / NETWORK).write_bytes(data)
    with pytest.raises(BrokenArtefact, match=f"{NETWORK} does not match"):
        OpenPipeline(copy)


def test_a_folder_tells_its_tasks(folders: Folders) -> None:
    told: dict[str, OpenFolder] = {kind: inspect(folders.path(kind)) for kind in KINDS}
    assert {kind: folder.tasks for kind, folder in told.items()} == {
        "t2v": ("text",),
        "i2v": ("image",),
        "a14b": ("text",),
        "i2v-a14b": ("image",),
        "ti2v": ("text", "image"),
    }


def test_a_card_tells_what_the_folder_says(folders: Folders, tmp_path: Path) -> None:
    shutil.copytree(folders.path("ti2v"), tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text(
        "---\nlicense: apache-2.0\nlanguage:\n- en\n- zh\nbase_model: Wan-AI/Wan2.2\npipeline_tag: text-to-video\n"
        "tags: [video, 7, {a: b}]\nextra: !!python/object:os.system {}\n---\n# Wan\n".replace("extra", "#")
    )
    card = read_card(inspect(tmp_path / "copy"))
    assert card.to_wire() == {
        "pipeline": "WanPipeline",
        "tasks": ["text", "image"],
        "license": "apache-2.0",
        "baseModel": ["Wan-AI/Wan2.2"],
        "tags": ["video"],
        "languages": ["en", "zh"],
        "native": [],
    }
    for broken in (
        "no front matter",
        "---\n: [\n---\n",
        "---\n" + "[" * 5000 + "\n---\n",
        "---\n!!python/object:x {}\n---\n",
    ):
        (tmp_path / "copy" / "README.md").write_text(broken)
        assert read_card(inspect(tmp_path / "copy")).license is None

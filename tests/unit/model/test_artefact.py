import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema_model.artefact import load_model, save_model
from kinema_model.config import ModelConfig
from kinema_model.dit import VideoDiT
from kinema_model.ema import Ema
from kinema_model.errors import BrokenArtefact


@pytest.fixture
def folder(tmp_path: Path, small_config: ModelConfig, awake: Callable[..., VideoDiT]) -> Path:
    save_model(tmp_path / "model", Ema(awake(small_config), 0.9).shadow, small_config, "# A model")
    return tmp_path / "model"


def test_what_was_saved_is_loaded(folder: Path, small_config: ModelConfig, awake: Callable[..., VideoDiT]) -> None:
    loaded = load_model(folder)
    assert loaded.config == small_config
    assert (folder / "card.md").read_text() == "# A model\n"
    expected = dict(awake(small_config).named_parameters())
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, expected[name])
        assert not parameter.requires_grad


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_flipped_byte_is_found_wherever_it_is(folder: Path, share: float) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(BrokenArtefact, match=r"model\.safetensors.*Publish the model again"):
        load_model(folder)


def test_a_truncated_or_missing_file_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BrokenArtefact, match=r"model\.safetensors"):
        load_model(folder)
    path.unlink()
    with pytest.raises(BrokenArtefact, match=r"model\.safetensors"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(BrokenArtefact, match=r"config\.json"):
        load_model(folder)


def test_a_pickle_is_refused(folder: Path) -> None:
    torch.save({"head.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(BrokenArtefact, match="cannot be read as safetensors"):
        load_model(folder)


def test_weights_of_another_config_are_refused(folder: Path, small_config: ModelConfig) -> None:
    changed = json.loads(small_config.to_json()) | {"depth": 3}
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(BrokenArtefact, match=r"lacks blocks\.2"):
        load_model(folder)
    changed |= {"depth": 2, "width": 36}
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(BrokenArtefact, match="has shape"):
        load_model(folder)


def test_unknown_and_integer_tensors_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"extra": torch.zeros(1)}, path)
    with pytest.raises(BrokenArtefact, match="extra"):
        load_model(folder)
    save_file(weights | {"head.bias": weights["head.bias"].long()}, path)
    with pytest.raises(BrokenArtefact, match="not floating point"):
        load_model(folder)


def test_nan_is_neither_saved_nor_loaded(folder: Path, small_config: ModelConfig) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["head.bias"][3] = float("nan")
    with pytest.raises(BrokenArtefact, match=r"head\.bias holds NaN"):
        save_model(folder / "other", weights, small_config, "")
    assert not (folder / "other").exists()
    save_file(weights, path)
    with pytest.raises(BrokenArtefact, match=r"head\.bias holds NaN"):
        load_model(folder)

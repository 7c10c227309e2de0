from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema_model.artefact import _digest, load_model, save_model
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.ema import Ema
from kinema_model.errors import BrokenArtefact
from kinema_model.network.folder import WEIGHTS_FILE, write_config
from kinema_world import SceneKind, WorldConfig
from kinema_world.errors import BrokenWorldFile
from kinema_world.stored import WORLD_FILE, load_world, world_files
from unit.model.clips import small_network

Build = Callable[..., VideoDenoiser]


@pytest.fixture
def folder(tmp_path: Path, small_config: ModelConfig, awake: Build) -> Path:
    save_model(tmp_path / "model", Ema(awake(small_config), 0.9).shadow, small_config, "# A model")
    return tmp_path / "model"


def test_what_was_saved_is_loaded(folder: Path, small_config: ModelConfig, awake: Build) -> None:
    loaded = load_model(folder)
    assert loaded.config == small_config
    assert (folder / "card.md").read_text() == "# A model\n"
    expected = dict(awake(small_config).named_parameters())
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, expected[name])
        assert not parameter.requires_grad


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_flipped_byte_is_found_wherever_it_is(folder: Path, share: float) -> None:
    path = folder / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(BrokenArtefact, match=r"diffusion_pytorch_model\.safetensors.*Publish the model again"):
        load_model(folder)


def test_a_truncated_or_missing_file_is_named(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BrokenArtefact, match=r"diffusion_pytorch_model\.safetensors"):
        load_model(folder)
    path.unlink()
    with pytest.raises(BrokenArtefact, match=r"diffusion_pytorch_model\.safetensors"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(BrokenArtefact, match=r"config\.json"):
        load_model(folder)


def test_a_pickle_is_refused(folder: Path) -> None:
    torch.save({"proj_out.weight": torch.zeros(2)}, folder / WEIGHTS_FILE)
    with pytest.raises(BrokenArtefact, match="cannot be read as safetensors"):
        load_model(folder)


def test_weights_of_another_config_are_refused(folder: Path, small_config: ModelConfig) -> None:
    for network, words in (
        (small_network(num_layers=3), r"lacks network\.blocks\.2"),
        (small_network(width=36), "has shape"),
    ):
        (folder / "kinema.json").write_text(small_config.model_copy(update={"network": network}).to_json())
        with pytest.raises(BrokenArtefact, match="describe two networks"):
            load_model(folder)
        write_config(folder, network)
        with pytest.raises(BrokenArtefact, match=words):
            load_model(folder)


def test_unknown_and_integer_tensors_are_refused(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    weights = load_file(path)
    _rewrite(path, weights | {"extra": torch.zeros(1)})
    with pytest.raises(BrokenArtefact, match="extra"):
        load_model(folder)
    _rewrite(path, weights | {"proj_out.bias": weights["proj_out.bias"].long()})
    with pytest.raises(BrokenArtefact, match="not floating point"):
        load_model(folder)


def test_nan_is_neither_saved_nor_loaded(folder: Path, small_config: ModelConfig, awake: Build) -> None:
    state = dict(awake(small_config).named_parameters())
    broken = state["network.proj_out.bias"].detach().clone()
    broken[3] = float("nan")
    with pytest.raises(BrokenArtefact, match=r"proj_out\.bias holds NaN"):
        save_model(folder / "other", {**state, "network.proj_out.bias": broken}, small_config, "")
    assert not (folder / "other").exists()
    _rewrite(folder / WEIGHTS_FILE, load_file(folder / WEIGHTS_FILE) | {"proj_out.bias": broken})
    with pytest.raises(BrokenArtefact, match=r"proj_out\.bias holds NaN"):
        load_model(folder)


def _rewrite(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """As somebody would who knows of the digest."""
    save_file(weights, path, metadata={"tensors_sha256": _digest(weights)})


def test_a_model_tells_the_world_it_was_trained_on(tmp_path: Path, small_config: ModelConfig, awake: Build) -> None:
    world = WorldConfig(seed=7, kinds={SceneKind.BOUNCE: 2.0})
    shadow = Ema(awake(small_config), 0.9).shadow
    save_model(tmp_path / "told", shadow, small_config, "", world_files(world))
    save_model(tmp_path / "untold", shadow, small_config, "")
    assert load_world(tmp_path / "told") == world
    assert load_world(tmp_path / "untold") is None
    (tmp_path / "told" / WORLD_FILE).write_text('{"kinds": {"dreams": 1}}')
    with pytest.raises(BrokenWorldFile, match=r"world\.json.*kinds"):
        load_world(tmp_path / "told")

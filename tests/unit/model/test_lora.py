"""Low-rank adapters: nothing changes before they are trained, only they are trained, and merging changes no output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kinema_model.adapters.folder import LORA_FILE, load_lora, save_lora
from kinema_model.adapters.lora import (
    ATTENTION,
    FEED_FORWARD,
    LoraConfig,
    add_lora,
    lora_state,
    merge_lora,
    remove_lora,
)
from kinema_model.errors import BrokenArtefact, ConfigError
from kinema_model.network.pack import pack_samples
from kinema_model.network.transformer import VideoTransformer
from unit.model.clips import mixed_samples, small_network

PATCH = (1, 4, 4)
BOTH = LoraConfig(3, 6.0, (*ATTENTION, *FEED_FORWARD))


def network(seed: int = 0, width: int = 24) -> VideoTransformer:
    torch.manual_seed(seed)
    made = VideoTransformer(small_network(in_channels=3, width=width))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def outputs(made: VideoTransformer) -> Tensor:
    samples = mixed_samples([(3, 8, 12), (2, 8, 8)], [3, 3])
    return made(pack_samples(samples, PATCH))


def trained(made: VideoTransformer) -> VideoTransformer:
    torch.manual_seed(9)
    for parameter in lora_state(made).values():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def test_a_new_adapter_changes_no_output_and_no_name_of_the_network() -> None:
    made = network()
    before, names = outputs(made), set(made.state_dict())
    add_lora(made, BOTH)
    assert torch.equal(outputs(made), before)
    assert names <= set(made.state_dict())
    assert {name for name, p in made.named_parameters() if p.requires_grad} == set(lora_state(made))
    # Two attentions of four projections and a feed-forward of two, in each of two blocks; A and B of each.
    assert len(lora_state(made)) == 2 * (2 * 4 + 2) * 2


def test_gradients_reach_the_adapters_alone() -> None:
    made = network()
    add_lora(made, BOTH)
    trained(made)
    outputs(made).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in lora_state(made).values())
    assert all(p.grad is None for p in made.parameters() if not p.requires_grad)


def test_the_update_is_the_formula() -> None:
    made = network()
    add_lora(made, LoraConfig(2, 5.0, ("to_q",)))
    trained(made)
    layer = made.get_submodule("blocks.1.attn1.to_q")
    x = torch.randn(7, 24)
    weight = layer.weight + 5.0 / 2 * layer.lora_B.weight @ layer.lora_A.weight
    assert torch.allclose(layer(x), x @ weight.T + layer.bias, atol=1e-5)


def test_merging_changes_no_output_and_leaves_no_adapter() -> None:
    made = network()
    names = set(made.state_dict())
    add_lora(made, BOTH)
    adapted = outputs(trained(made))
    merge_lora(made)
    assert torch.allclose(outputs(made), adapted, atol=1e-4)
    assert set(made.state_dict()) == names


def test_removing_gives_the_network_back() -> None:
    made = network()
    before = outputs(made)
    add_lora(made, BOTH)
    assert not torch.allclose(outputs(trained(made)), before)
    remove_lora(made)
    assert torch.equal(outputs(made), before)


def test_a_second_adapter_is_refused() -> None:
    made = network()
    add_lora(made, BOTH)
    with pytest.raises(ConfigError, match="Merge or remove them first"):
        add_lora(made, BOTH)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"rank": 0}, "lora.rank 0 is out of range"),
        ({"rank": 2000}, "lora.rank 2000 is out of range"),
        ({"alpha": 0.0}, "lora.alpha 0.0 is no scale"),
        ({"alpha": float("nan")}, "lora.alpha nan is no scale"),
        ({"targets": ()}, "lora.targets"),
        ({"targets": ("proj_out",)}, "Choose of: to_q"),
    ],
)
def test_options_that_are_none_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        LoraConfig(**fields)  # type: ignore[arg-type]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    made = network()
    add_lora(made, BOTH)
    return save_lora(tmp_path, {"transformer": trained(made)}, BOTH)


def test_a_file_gives_the_same_outputs(stored: Path) -> None:
    one, other = network(), network()
    add_lora(one, BOTH)
    assert load_lora(stored, other) == BOTH
    assert torch.equal(outputs(trained(one)), outputs(other))


def test_two_experts_lie_in_one_file(tmp_path: Path) -> None:
    high, low = network(1), network(2)
    for each in (high, low):
        add_lora(each, BOTH)
        trained(each)
    path = save_lora(tmp_path, {"transformer": high, "transformer_2": low}, BOTH)
    fresh = network(2)
    load_lora(path, fresh, "transformer_2")
    assert torch.equal(outputs(fresh), outputs(low))


def changed(path: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return path


FIRST = "transformer.blocks.0.attn1.to_q.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(FIRST), "lacks blocks.0.attn1.to_q.lora_A.weight"),
        (lambda t: t.update({FIRST: torch.zeros(3, 5)}), "has shape (3, 5)"),
        (lambda t: t.update({FIRST: torch.zeros(4, 24)}), "ranks [3, 4]"),
        (lambda t: t.update({FIRST: torch.full((3, 24), float("nan"))}), "NaN"),
        (lambda t: t.update({"transformer.blocks.9.attn1.to_q.lora_A.weight": torch.zeros(3, 24)}), "blocks.9"),
        (lambda t: t.clear(), "no adapter of 'transformer'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_tensor(
    stored: Path, change: Callable[[dict[str, Tensor]], None], words: str
) -> None:
    with pytest.raises(BrokenArtefact) as refused:
        load_lora(changed(stored, change), network())
    assert words in str(refused.value)
    assert LORA_FILE in str(refused.value)


def test_an_adapter_of_another_base_is_refused(stored: Path) -> None:
    with pytest.raises(BrokenArtefact, match="has shape"):
        load_lora(stored, network(width=36))


def test_a_damaged_file_is_refused(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:200])
    with pytest.raises(BrokenArtefact, match="cannot be read as safetensors"):
        load_lora(stored, network())

"""A clip made with an adapter is that of the merged model, and one of another model is refused by name."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from kinema_jobs.clip.loading import open_model
from kinema_jobs.clip.rendering import TrainedModel
from kinema_model.adapters.folder import save_lora
from kinema_model.adapters.lora import ATTENTION, FEED_FORWARD, LoraConfig, add_lora, lora_state, merged_state
from kinema_model.artefact import load_model, save_model
from kinema_model.denoiser import VideoDenoiser
from unit.jobs.doors import NO_MODEL, Door

LORA = LoraConfig(4, 8.0, (*ATTENTION, *FEED_FORWARD))


@pytest.fixture
def adapted(text_model: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A model with weights that are not zero, an adapter of it, and the two merged."""
    loaded = load_model(text_model)
    torch.manual_seed(1)
    model = VideoDenoiser(loaded.config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_model(tmp_path / "base", dict(model.named_parameters()), loaded.config, "# Base")
    add_lora(model.network, LORA)
    for parameter in lora_state(model.network).values():
        torch.nn.init.normal_(parameter, std=0.1)
    adapter = save_lora(tmp_path / "adapter", {"transformer": model.network}, LORA, base="sha256:mine")
    save_model(tmp_path / "merged", merged_state(model, {}), loaded.config, "# Merged")
    return tmp_path / "base", adapter, tmp_path / "merged"


@pytest.mark.slow
def test_a_clip_with_an_adapter_is_that_of_the_merged_model(door: Door, adapted: tuple[Path, Path, Path]) -> None:
    base, adapter, merged = adapted
    clips = {}
    for name, model, options in (("plain", base, {}), ("adapter", base, {"adapter": adapter}), ("merged", merged, {})):
        code, said = door.generate(model, **options)
        assert code == 0, said
        with av.open(said["path"]) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        clips[name] = np.stack(frames).astype(float)
    apart = {name: np.abs(clip - clips["merged"]).mean() for name, clip in clips.items()}
    assert apart["adapter"] < 1 < apart["plain"]


@pytest.mark.slow
def test_an_adapter_is_taken_off_again_and_refused_on_another_model(
    door: Door, adapted: tuple[Path, Path, Path]
) -> None:
    base, adapter, _ = adapted
    model = open_model(base)
    assert isinstance(model, TrainedModel)
    network = model._pipeline.model.network
    before = set(network.state_dict())
    with model.adapted(adapter, "sha256:mine"):
        assert set(network.state_dict()) > before
    assert set(network.state_dict()) == before
    with pytest.raises(Exception, match="is an adapter of the model sha256:mine, and this is sha256:other"):
        model.adapted(adapter, "sha256:other").__enter__()
    assert set(network.state_dict()) == before
    code, said = door.generate(base, adapter=base / "card.md")
    assert code == NO_MODEL
    assert "card.md cannot be read as safetensors" in said["message"]

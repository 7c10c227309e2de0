"""What a training may say of the model that it begins with, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from kinema_api.errors import InvalidManifest
from kinema_api.finetune import ALL_TARGETS, ONE_BASE, BaseClip, BaseStatus, InitFrom, Lora, LoraTarget, base_clip
from kinema_api.launch import run_base
from kinema_api.optimization import FINE_TUNING_RATE, LORA_RATE, RATE, Optimization
from kinema_api.training import LORA_WITHOUT_BASE, ONE_START, SHAPE_OF_BASE, ModelChoice, VideoModelTrainingSpec
from kinema_jobs.train.shape import own_clip
from kinema_model.adapters.lora import ATTENTION, FEED_FORWARD, MAX_RANK
from kinema_model.codec.grid import CODECS, CodecName
from kinema_model.config import PRESETS

DIGEST = f"sha256:{'a' * 64}"
CLIP = BaseClip(frames=8, pixels=576, fps=8, cell=(1, 8, 8))
BASE = {"initFrom": {"digest": DIGEST}}


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        ({}, ONE_BASE),
        ({"digest": DIGEST, "model": "tiny"}, ONE_BASE),
        ({"digest": DIGEST, "model": "tiny", "folder": "s3://kinema/p/"}, ONE_BASE),
        ({"digest": "sha256:abc"}, "64 hexadecimal digits"),
        ({"folder": "s3://kinema/p"}, "ends in a slash"),
        ({"folder": "s3://kinema/../p/"}, "neither empty nor . or .."),
        ({"model": "other/tiny"}, "a name starts with a letter"),
    ],
)
def test_a_base_is_named_in_one_way(init: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidManifest, match=sentence):
        InitFrom.parse(init)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({}, ONE_START),
        ({"preset": "tiny", **BASE}, ONE_START),
        *(({**BASE, "overrides": {field: 32}}, SHAPE_OF_BASE) for field in ("width", "depth", "heads")),
    ],
)
def test_a_model_begins_in_one_way_and_keeps_the_network_of_its_base(model: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidManifest, match=sentence):
        ModelChoice.parse(model)


def test_adapters_need_a_base() -> None:
    spec = {"model": {"preset": "tiny"}, "data": {"world": {}}, "optimization": {"steps": 1, "lora": {}}}
    with pytest.raises(InvalidManifest, match=LORA_WITHOUT_BASE):
        VideoModelTrainingSpec.parse(spec)
    assert VideoModelTrainingSpec.parse(spec | {"model": BASE}).optimization.lora == Lora()


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("codec", sorted(CODECS))
def test_the_clip_of_a_base_is_that_of_its_config(name: str, codec: CodecName) -> None:
    shape = CODECS[codec]
    model = PRESETS[name]
    network = model.network.model_copy(
        update={"out_channels": shape.channels, "in_channels": shape.channels + 1, "patch_size": (1, 4, 4)}
    )
    model = model.model_copy(update={"codec": codec, "network": network})
    assert base_clip(model.to_json().encode()).target == own_clip(model)


@pytest.mark.parametrize("lora", [{"rank": 0}, {"rank": 1025}, {"alpha": 0}, {"targets": []}, {"targets": ["to_x"]}])
def test_adapters_that_make_no_sense_are_refused(lora: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifest, match=next(iter(lora))):
        Lora.parse(lora)


def test_adapters_are_those_of_the_model_package() -> None:
    assert set(ALL_TARGETS) == {*ATTENTION, *FEED_FORWARD} == set(LoraTarget.__args__)
    assert Lora(rank=MAX_RANK, targets=ALL_TARGETS).scale == MAX_RANK
    assert Lora(rank=4, alpha=8).scale == 8


@pytest.mark.parametrize(
    ("fields", "fine_tuning", "rate"),
    [
        ({}, False, RATE),
        ({}, True, FINE_TUNING_RATE),
        ({"lora": {}}, True, LORA_RATE),
        ({"lora": {}, "learningRate": 0.5}, True, 0.5),
        ({"learningRate": 0.5}, False, 0.5),
    ],
)
def test_the_rate_has_a_default_for_each_kind_of_training(
    fields: dict[str, Any], fine_tuning: bool, rate: float
) -> None:
    assert Optimization.parse({"steps": 1, **fields}).rate(fine_tuning=fine_tuning) == rate


def test_a_trainer_finds_the_base_where_the_status_says() -> None:
    found = run_base(BaseStatus(digest=DIGEST, uri="s3://kinema/models/abc/", clip=CLIP))
    assert found is not None
    assert (found.digest, found.prefix) == (DIGEST, "models/abc/")
    assert run_base(None) is None

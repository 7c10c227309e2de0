from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.errors import ShapeError
from kinema_model.network.attention import AttentionPattern, Segments
from kinema_model.network.blocks import Context
from kinema_model.network.pack import Pack, Sample, pack_samples
from kinema_model.network.rope import rope_table
from kinema_model.network.transformer import VideoTransformer
from unit.model.clips import mixed_samples, small_network

Build = Callable[..., VideoDenoiser]
PATCH = (1, 4, 4)
SIZES = [(3, 8, 12), (1, 16, 4), (5, 4, 8), (3, 8, 12)]
TEXTS = [5, 1, 3, 7]


def _gradients(model: VideoDenoiser, samples: list[Sample]) -> tuple[list[Tensor], list[Tensor]]:
    """Velocities of every sample, and the gradients of their weighted sum."""
    model.zero_grad()
    pack = pack_samples(samples, PATCH)
    out = model(pack)
    weights = torch.linspace(-1, 1, out.shape[1])
    (out * weights).sum().backward()
    return list(out.detach().split(pack.clips.lengths)), [
        p.grad.clone() for p in model.parameters() if p.grad is not None
    ]


@pytest.mark.parametrize("prediction", ["velocity", "clean"])
def test_an_untrained_network_emits_zero(small_config: ModelConfig, prediction: str) -> None:
    config = small_config.model_copy(update={"prediction": prediction})
    pack = pack_samples(mixed_samples(SIZES, TEXTS), PATCH)
    velocity = VideoDenoiser(config)(pack)
    implied = pack.tokens / pack.token_levels[:, None] if prediction == "clean" else torch.zeros_like(pack.tokens)
    assert torch.allclose(velocity, implied)


def test_untrained_blocks_are_the_identity() -> None:
    network = VideoDenoiser(ModelConfig.from_preset("tiny", width=24, depth=2, heads=2)).network
    x, text, places = torch.randn(6, 24), torch.randn(4, 24), torch.rand(6, 3)
    rope, tokens = rope_table(12, places), Segments.of([6])
    context = Context(
        pattern=AttentionPattern.own(tokens),
        rope=rope,
        key_rope=rope,
        level_index=torch.zeros(6).long(),
        runs=tokens,
        text=text,
        texts=Segments.of([4]),
        clips=tokens,
    )
    for block in network.blocks:
        assert torch.equal(block(x, torch.zeros(1, 6, 24), context), x)


def test_packed_equals_separate_in_values_and_gradients(small_config: ModelConfig, awake: Build) -> None:
    model, samples = awake(small_config), mixed_samples(SIZES, TEXTS)
    together, gradients = _gradients(model, samples)
    alone = [_gradients(model, [sample]) for sample in samples]
    for packed, (separate, _) in zip(together, alone, strict=True):
        assert torch.allclose(packed, separate[0], atol=1e-5)
    for packed, *separate in zip(gradients, *(each for _, each in alone), strict=True):
        whole = torch.stack(separate).sum(0)
        assert torch.allclose(packed, whole, atol=1e-5 * float(whole.abs().max().clamp(min=1)))


@pytest.mark.parametrize("changed", range(4))
def test_a_clip_s_pixels_and_text_touch_no_other(small_config: ModelConfig, awake: Build, changed: int) -> None:
    model, samples = awake(small_config), mixed_samples(SIZES, TEXTS)
    before = model(pack_samples(samples, PATCH)).split(pack_samples(samples, PATCH).clips.lengths)
    part = samples[changed].parts[0]
    for other in (
        replace(samples[changed], parts=(replace(part, latents=part.latents + 1),)),
        replace(samples[changed], text=samples[changed].text + 1),
    ):
        pack = pack_samples([*samples[:changed], other, *samples[changed + 1 :]], PATCH)
        after = model(pack).split(pack.clips.lengths)
        for number, (was, now) in enumerate(zip(before, after, strict=True)):
            assert torch.allclose(was, now, atol=1e-6) == (number != changed)


def test_a_frame_s_level_matters_to_its_clip_alone(small_config: ModelConfig, awake: Build) -> None:
    model, samples = awake(small_config), mixed_samples(SIZES, TEXTS)
    pack = pack_samples(samples, PATCH)
    levels = samples[0].parts[0].levels.clone()
    levels[2] = 0.05
    samples[0] = replace(samples[0], parts=(replace(samples[0].parts[0], levels=levels),))
    before, after = (model(p).split(p.clips.lengths) for p in (pack, pack_samples(samples, PATCH)))
    assert [torch.allclose(was, now, atol=1e-5) for was, now in zip(before, after, strict=True)] == [False] + 3 * [True]


def test_frame_rate_is_a_condition(small_config: ModelConfig, awake: Build) -> None:
    model, samples = awake(small_config), mixed_samples(SIZES[:1], TEXTS[:1])
    part = samples[0].parts[0]
    slower = replace(samples[0], parts=(replace(part, times=part.times * 2),))
    assert not torch.allclose(model(pack_samples(samples, PATCH)), model(pack_samples([slower], PATCH)), atol=1e-4)


def test_no_text_means_the_null_token(small_config: ModelConfig, awake: Build) -> None:
    model, samples = awake(small_config), mixed_samples(SIZES, TEXTS)
    blank = [replace(sample, text=sample.text[:0]) for sample in samples]
    said = [replace(sample, text=model.network.null_text.detach()[None]) for sample in samples]  # type: ignore[index]
    out = model(pack_samples(blank, PATCH))
    assert torch.allclose(out, model(pack_samples(said, PATCH)), atol=1e-6)
    out.sum().backward()
    assert model.network.null_text is not None
    assert model.network.null_text.grad is not None
    assert model.network.null_text.grad.abs().max() > 0


def test_clean_prediction_is_the_velocity_it_implies(small_config: ModelConfig, awake: Build) -> None:
    model = awake(small_config)
    plain = VideoDenoiser(small_config.model_copy(update={"prediction": "velocity"}))
    plain.load_state_dict(model.state_dict())
    pack = pack_samples(mixed_samples(SIZES, TEXTS), PATCH)
    implied = (pack.tokens - plain(pack)) / pack.token_levels[:, None]
    assert torch.allclose(model(pack), implied, atol=1e-5)


@pytest.mark.parametrize("places", ["none", "space", "space-time"])
def test_places_are_told_as_far_as_the_config_says(small_config: ModelConfig, awake: Build, places: str) -> None:
    channels = 3 if places == "none" else 4
    config = small_config.model_copy(update={"places": places, "network": small_network(in_channels=channels)})
    model, pack = awake(config), pack_samples(mixed_samples(SIZES, TEXTS), PATCH)
    rows, later = pack.scaled_places.clone(), pack.scaled_places.clone()
    rows[:, 1] += 0.1
    later[:, 0] += 0.1
    before = model(pack)
    told = [not torch.allclose(before, model(replace(pack, scaled_places=p)), atol=1e-5) for p in (rows, later)]
    assert told == {"none": [False, False], "space": [True, False], "space-time": [True, True]}[places]


def _wider(pack: Pack) -> Pack:
    return replace(pack, tokens=torch.zeros(len(pack.tokens), 5))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_wider, "4 channels in patches"),
        (lambda pack: replace(pack, text=torch.zeros(len(pack.text), 5)), "16 wide"),
        (lambda pack: replace(pack, textless=torch.ones_like(pack.textless)), "Encode an empty prompt"),
        (lambda pack: replace(pack, image=torch.zeros(2, 8), images=Segments.of([2])), "do not take"),
    ],
)
def test_packs_that_do_not_fit_are_refused(change: Callable[[Pack], Pack], words: str) -> None:
    samples = mixed_samples(SIZES[:1], TEXTS[:1])
    pack = pack_samples(samples, PATCH)
    pack = replace(pack, tokens=torch.zeros(len(pack.tokens), 64))
    with pytest.raises(ShapeError, match=words):
        VideoTransformer(small_network(), null_text=False)(change(pack))

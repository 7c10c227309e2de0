from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from examples import examples
from kinema_model.config import MOST_SHIFT, PRESETS, ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.diffusion.flow import UNIFORM_SHARE, DrawnLevel
from kinema_model.diffusion.sampler import euler_levels
from kinema_model.rng import RngStream, generator
from kinema_model.text.encoder import MAX_TOKENS, TEXT_DIM, TextEncoder
from kinema_model.text.weights import bundled_folder
from kinema_model.training.objective import TrainingObjective
from kinema_model.training.optimizer import learning_rate_share, make_optimizer
from kinema_world import SceneKind, World, WorldConfig
from kinema_world.source import WorldSource

pytestmark = pytest.mark.slow


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig.from_preset("tiny", width=32, depth=1, heads=2, frames=2, height=16, width_px=16)


def _objective(
    config: ModelConfig, encoder: TextEncoder, dropout: float = 0.1, rich_captions: float = 0.0
) -> TrainingObjective:
    world = World.fixed(7, config.frames, config.height, config.width_px, config.fps)
    return TrainingObjective(
        config, encoder, WorldSource(world), seed=3, text_dropout=dropout, rich_captions=rich_captions
    )


class _Heard(TextEncoder):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[str] = []

    def encode(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        self.prompts += prompts
        return [torch.zeros(0, TEXT_DIM) for _ in prompts]


def _told(config: ModelConfig, rich_captions: float, samples: Sequence[int], step: int = 0) -> list[str]:
    """The text of each sample at a step."""
    heard = _Heard()
    _objective(config, heard, 0.0, rich_captions).batch(samples, step)
    return heard.prompts


def _gradient(model: VideoDenoiser) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_gradient_does_not_depend_on_the_world_size(config: ModelConfig, encoder: TextEncoder, world_size: int) -> None:
    """The mean of the ranks' gradients, as DDP takes it, also where 8 clips fall unevenly on 3 ranks."""
    torch.manual_seed(0)
    model = VideoDenoiser(config)
    torch.nn.init.normal_(model.network.proj_out.weight, std=0.1)
    objective = _objective(config, encoder)
    whole = objective.loss(model, range(8), 4)
    whole.mean.backward()
    expected = _gradient(model)
    model.zero_grad()
    parts = [objective.loss(model, range(rank, 8, world_size), 4) for rank in range(world_size)]
    count = sum(part.count for part in parts)
    for part in parts:
        (part.total / count).backward()
    assert torch.allclose(_gradient(model), expected, rtol=1e-3, atol=1e-4)
    assert sum(float(part.total.detach()) for part in parts) == pytest.approx(float(whole.total.detach()), rel=1e-4)


def test_loss_depends_on_seed_sample_and_step_alone(config: ModelConfig, encoder: TextEncoder) -> None:
    model = VideoDenoiser(config)
    objective = _objective(config, encoder)
    first = objective.loss(model, [3, 5], 9)
    torch.rand(100)
    again = _objective(config, TextEncoder()).loss(model, [5, 3], 9)
    assert torch.allclose(first.total, again.total)
    assert not torch.allclose(first.total, objective.loss(model, [3, 5], 10).total)


def test_levels_are_logit_normal_and_lean_towards_noise_in_larger_clips(
    config: ModelConfig, encoder: TextEncoder
) -> None:
    objective = _objective(config, encoder)
    pack, _ = objective.batch(range(2000), 0)
    levels = torch.stack([levels[0] for levels in pack.token_levels.split(pack.clips.lengths)])
    # Uniform levels, which are few, have a heavier tail; the quartiles of both are near those of the normal ones.
    least, middle, most = torch.logit(levels).quantile(torch.tensor([0.25, 0.5, 0.75]))
    assert abs(middle - torch.tensor(config.level_shift).log()) < 0.1
    assert abs(most - least - 2 * 0.6745) < 0.15
    assert config.shift_for(2 * config.tokens_per_clip) == 2**0.5 * config.shift_for(config.tokens_per_clip)


def test_a_tenth_of_the_levels_is_uniform_whatever_the_shift() -> None:
    drawn = [DrawnLevel.draw(generator(RngStream.LEVEL, 5, sample)) for sample in range(4000)]
    uniform = torch.tensor([level.shifted(9.0) for level in drawn if level.uniform])
    assert abs(len(uniform) / len(drawn) - UNIFORM_SHARE) < 0.02
    assert abs(uniform.mean() - 0.5) < 0.05
    assert abs((uniform < 0.1).float().mean() - 0.1) < 0.05
    others = torch.logit(torch.tensor([level.value for level in drawn if not level.uniform]))
    assert abs(others.mean()) < 0.05
    assert abs(others.std() - 1) < 0.05


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_shift_of_large_clips_ends_where_the_last_step_of_sampling_is_still_trained(name: str) -> None:
    config = PRESETS[name]
    shifts = [config.shift_for(tokens) for tokens in (1, config.tokens_per_clip, 10**4, 10**6)]
    assert shifts == sorted(shifts)
    assert shifts[0] == 1
    assert shifts[1] == config.level_shift
    assert shifts[-1] == MOST_SHIFT
    assert euler_levels(20, shifts[-1])[-2] < 0.22


def test_text_is_dropped_at_the_given_rate(config: ModelConfig, encoder: TextEncoder) -> None:
    pack, _ = _objective(config, encoder, dropout=0.25).batch(range(400), 0)
    assert 70 < pack.textless.sum() < 130


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 70, 130), (1.0, 400, 400)])
def test_rich_captions_are_told_at_the_given_share(config: ModelConfig, share: float, least: int, most: int) -> None:
    scenes = map(World.fixed(7, config.frames, config.height, config.width_px, config.fps).scene, range(400))
    rich = [text == scene.captions.rich for text, scene in zip(_told(config, share, range(400)), scenes, strict=True)]
    assert least <= sum(rich) <= most


@given(
    step=st.integers(0, 1000), world_size=st.integers(1, 5), share=st.sampled_from([0.3, 0.5]), batch=st.integers(1, 20)
)
@settings(max_examples=examples(20), deadline=None)
def test_which_caption_is_told_depends_on_sample_and_step_alone(
    step: int, world_size: int, share: float, batch: int
) -> None:
    config = ModelConfig.from_preset("tiny", width=32, depth=1, heads=2, frames=2, height=16, width_px=16)
    every = list(range(step, step + batch))
    alone = dict(zip(every, _told(config, share, every, step), strict=True))
    for rank in range(world_size):
        mine = every[rank::world_size]
        if mine:
            assert _told(config, share, mine, step) == [alone[index] for index in mine]


def test_a_sample_hears_both_captions_in_the_course_of_a_run(config: ModelConfig) -> None:
    told = {text for step in range(20) for text in _told(config, 0.5, [3], step)}
    scene = World.fixed(7, config.frames, config.height, config.width_px, config.fps).scene(3)
    assert told == {scene.captions.short, scene.captions.rich}


@pytest.mark.parametrize("kind", SceneKind)
def test_no_rich_caption_is_cut_by_the_encoder(kind: SceneKind) -> None:
    tokenizer = Tokenizer.from_file(str(bundled_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    world = World(WorldConfig(seed=1, kinds={kind: 1.0}))
    encodings = tokenizer.encode_batch([world.scene(index).captions.rich for index in range(60)])
    assert max(len(encoding.tokens) for encoding in encodings) <= MAX_TOKENS


def test_a_tiny_model_learns_a_few_clips_by_heart(config: ModelConfig, encoder: TextEncoder) -> None:
    torch.manual_seed(0)
    steps = 100
    model, objective = VideoDenoiser(config), _objective(config, encoder, dropout=0.0)
    optimizer, schedule = make_optimizer(model, 5e-3, steps)

    def held_back() -> float:
        """The loss at noise and levels that no training step draws."""
        with torch.no_grad():
            return float(objective.loss(model, range(8), steps).mean)

    before = held_back()
    for step in range(steps):
        optimizer.zero_grad()
        objective.loss(model, range(8), step).mean.backward()
        optimizer.step()
        schedule.step()
    assert held_back() < 0.2 * before


def test_only_matrices_decay(config: ModelConfig) -> None:
    model = VideoDenoiser(config)
    optimizer, _ = make_optimizer(model, 1e-3, 10)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decaying, others = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    assert {"network.blocks.0.ffn.net.2.weight", "network.patch_embedding.weight"} <= decaying
    assert {
        "network.null_text",
        "network.blocks.0.scale_shift_table",
        "network.proj_out.bias",
        "network.blocks.0.attn1.norm_q.weight",
    } <= others
    assert [group["weight_decay"] > 0 for group in optimizer.param_groups] == [True, False]


def test_learning_rate_rises_then_falls_to_zero() -> None:
    shares = [learning_rate_share(step, 100) for step in range(101)]
    peak = shares.index(max(shares))
    assert max(shares) == 1
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert shares[-1] == pytest.approx(0)

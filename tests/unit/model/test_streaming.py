"""Streams: what is cached is what would be computed anew, and what training shows is what sampling meets."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kinema_model.artefact import save_model
from kinema_model.codec.codec import PixelCodec, to_uint8
from kinema_model.codec.latents import token_times
from kinema_model.config import ModelConfig, StreamingConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.diffusion.flow import flow_loss
from kinema_model.ema import Ema
from kinema_model.errors import ModelError, PromptError, SamplingStopped, ShapeError, TaskError
from kinema_model.network.chunks import Chunks
from kinema_model.network.pack import Cut, Pack, Part, Sample, pack_samples, patchify
from kinema_model.pipeline import Pipeline
from kinema_model.rng import RngStream, normal
from kinema_model.streaming.chunking import chunk_rows, reference_of
from kinema_model.streaming.stream import Shot, Streamer, StreamOptions
from kinema_model.streaming.window import Window
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.objective import TrainingObjective
from kinema_world import SceneKind, ShapeMix, World, WorldConfig
from kinema_world.source import WorldSource
from unit.model.clips import clip

pytestmark = pytest.mark.slow


Build = Callable[..., VideoDenoiser]
STREAMING = StreamingConfig(chunk_frames=2, window_chunks=2, context_level=0.1, reference_frames=1)
PROMPT = "a red square moves right"
OTHER = "a red square moves up"
WORLD = World.fixed(7, 8, 16, 16, 8)


@pytest.fixture
def config(small_config: ModelConfig) -> ModelConfig:
    changes = {"places": "space", "prediction": "velocity", "streaming": STREAMING}
    return small_config.model_copy(update=changes)


@pytest.fixture
def tiny() -> ModelConfig:
    fields = {"frames": 8, "height": 16, "width_px": 16, "places": "space", "streaming": STREAMING.model_dump()}
    return ModelConfig.from_preset("tiny", width=24, depth=2, heads=2, **fields)


@pytest.fixture
def pipeline(tmp_path: Path, encoder: TextEncoder, awake: Build, tiny: ModelConfig) -> Pipeline:
    save_model(tmp_path, Ema(awake(tiny), 0.9).shadow, tiny, "# Random weights")
    return Pipeline(tmp_path, text_encoder=encoder)


def _at(latents: Tensor, levels: Sequence[float], first: float = 0.0, fps: float = 8.0) -> Part:
    """Latents with a level for each row, the first at `first`."""
    part = clip(tuple(latents.shape[1:]), torch.tensor(levels), fps=fps)
    return Part(latents, part.levels, part.times + first)


@pytest.mark.parametrize("fps", [8, 12, 24])
@pytest.mark.parametrize("guided", [False, True])
def test_cached_equals_uncached(config: ModelConfig, awake: Build, guided: bool, fps: int) -> None:
    """Five chunks, the window two, a reference from the first on, and a cut; the last one at any level."""
    model, rows = awake(config), (2, 2, 1, 2, 2)
    torch.manual_seed(5)
    latents, beside = torch.randn(3, sum(rows), 8, 12), torch.randn(3, 1, 8, 12)
    reference = _at(beside, [0.0], -1.0, fps)
    shots = [torch.randn(3, 16), torch.randn(5, 16)]
    texts = [[shot, shot[:0]] if guided else [shot] for shot in shots]
    chunks = latents.split(rows, dim=1)
    window = Window(model, STREAMING)
    for number, made in enumerate(chunks[:-1]):
        window.keep(_at(made, [0.1] * made.shape[1], fps=fps), texts[number > 2])
        if number == 0:
            window.refer([reference], texts[0])
    for level in (1.0, 0.4):
        part = _at(chunks[-1], [level] * 2, fps=fps)
        pack = pack_samples([Sample((part,), text) for text in texts[1]], config.patch)
        with torch.no_grad():
            cached = window.view()(pack)
        clip_ = _at(latents, [0.1] * 7 + [level] * 2, fps=fps)
        whole = [
            Sample((clip_, reference), first, cuts=(Cut(5, later),), chunks=Chunks(rows, 2))
            for first, later in zip(*texts, strict=True)
        ]
        pack = pack_samples(whole, config.patch)
        with torch.no_grad():
            uncached = model(pack).view(len(whole), -1, cached.shape[1])[:, 7 * 6 : 9 * 6].flatten(0, 1)
        assert torch.allclose(cached, uncached, rtol=0, atol=1e-5)
        assert cached.std() > 0.1


@pytest.mark.parametrize("fps", [8, 12, 24])
def test_a_stream_keeps_its_own_rate(tiny: ModelConfig, encoder: TextEncoder, awake: Build, fps: int) -> None:
    """Behind two chunks of two frames the last chunk begins after four frames, whatever a second has of them."""
    begins: list[float] = []
    model = awake(tiny)
    model.network.register_forward_pre_hook(lambda _, args: begins.append(float(args[0].places[:, 0].min())))
    options = StreamOptions(16, 16, fps, 1, 1.0)
    for _ in Streamer(model, STREAMING, PixelCodec(), encoder, [Shot(PROMPT, 12 / fps)], 1, options, "cpu").run():
        pass
    assert max(begins) == pytest.approx(4 * tiny.reference_fps / fps)


def test_every_forward_of_a_long_stream_sees_small_positions(pipeline: Pipeline) -> None:
    seen: list[float] = []
    pipeline.model.network.register_forward_pre_hook(
        lambda _, args: seen.append(float(args[0].pattern.places[:, 0].abs().max()))
    )
    for _ in pipeline.stream([Shot(PROMPT, 5.0)], 1, steps=1):
        pass
    assert max(seen) == 5  # two chunks of two frames and the chunk itself, counted from 0


def test_a_stream_is_its_seed_s_and_as_long_as_asked(pipeline: Pipeline) -> None:
    shots = [Shot(PROMPT, 0.6), Shot(OTHER, 0.4)]
    told: list[tuple[int, int]] = []
    chunks = list(pipeline.stream(shots, 3, steps=2, on_step=lambda *each: told.append(each)))
    # 5 frames of the first shot and 3 of the second: a chunk ends where its shot does.
    assert [chunk.shape for chunk in chunks] == [(n, 16, 16, 3) for n in (2, 2, 1, 2, 1)]
    assert chunks[0].dtype == np.uint8
    assert told == [(number, 10) for number in range(1, 11)]
    again = list(pipeline.stream(shots, 3, steps=2))
    assert all(np.array_equal(a, b) for a, b in zip(chunks, again, strict=True))
    other = list(pipeline.stream(shots, 4, steps=2))
    assert not any(np.array_equal(a, b) for a, b in zip(chunks, other, strict=True))


def test_a_later_prompt_changes_its_own_shot_alone(pipeline: Pipeline) -> None:
    first, second = (
        list(pipeline.stream([Shot(PROMPT, 0.5), Shot(later, 0.5)], 3, steps=2)) for later in (OTHER, "a blue circle")
    )
    assert [np.array_equal(a, b) for a, b in zip(first, second, strict=True)] == [True, True, False, False]


def test_a_stream_stops_when_told(pipeline: Pipeline) -> None:
    told: list[int] = []
    chunks = pipeline.stream(
        [Shot(PROMPT, 2.0)], 1, steps=2, on_step=lambda done, _: told.append(done), should_stop=lambda: len(told) == 3
    )
    next(chunks)
    with pytest.raises(SamplingStopped):
        next(chunks)
    assert told == [1, 2, 3]


@pytest.mark.parametrize(
    ("shots", "error", "words"),
    [
        ([], PromptError, "at least one prompt"),
        ([Shot(" ", 1.0)], PromptError, "prompt of shot 0 is empty"),
        ([Shot(PROMPT, 0.0)], ShapeError, "cannot last 0 s"),
        ([Shot(PROMPT, float("inf"))], ShapeError, "cannot last inf s"),
        ([Shot(PROMPT, 1.0), Shot(PROMPT, 1.0, like=2)], ShapeError, "Name itself, 1, or an earlier one"),
    ],
)
def test_shots_that_cannot_be_made_are_refused_at_once(
    pipeline: Pipeline, shots: list[Shot], error: type[ModelError], words: str
) -> None:
    with pytest.raises(error, match=words):
        pipeline.stream(shots, 1)


def test_a_model_that_was_not_trained_for_it_refuses(tmp_path: Path, encoder: TextEncoder, awake: Build) -> None:
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2)
    save_model(tmp_path, Ema(awake(config), 0.9).shadow, config, "# Random weights")
    with pytest.raises(TaskError, match="not trained for streaming"):
        Pipeline(tmp_path, text_encoder=encoder).stream([Shot(PROMPT, 1.0)], 1)


def _held(window: Window) -> int:
    """Bytes of the storages that a window keeps alive."""
    tensors = [t for kept in (*window.references, *window.chunks) for kv in kept.layers for t in (kv.keys, kv.values)]
    places = [kept.places for kept in (*window.references, *window.chunks)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in [*tensors, *places]}
    return sum(storages.values())


def test_a_stream_holds_as_much_after_a_minute_as_after_ten_seconds(
    tiny: ModelConfig, encoder: TextEncoder, awake: Build
) -> None:
    model = awake(tiny.model_copy(update={"network": tiny.network.model_copy(update={"num_layers": 1})}))
    options = StreamOptions(16, 16, 8, 1, 2.0)
    streamer = Streamer(model, STREAMING, PixelCodec(), encoder, [Shot(PROMPT, 60.0)], 1, options, "cpu")
    held = [_held(streamer.window) for _ in streamer.run()]
    assert len(held) == 240
    assert held[-1] == held[10 * 4 - 1]
    tokens, texts, width = 3 * 4 * 2, 2, 24
    # Two chunks of two frames and the reference, four tokens a frame, keys and values; places beside that.
    assert held[-1] >= (2 * 2 + 1) * 4 * texts * width * 2 * 4
    assert held[-1] <= 1.2 * (2 * 2 + 1) * 4 * texts * width * 2 * 4 + tokens * 3 * 4 * texts


@pytest.fixture
def two_shots() -> World:
    kinds, shapes = {SceneKind.TWO_SHOT: 1.0}, ShapeMix.fixed(14, 32, 32, 8)
    return World(WorldConfig(seed=5, split="all", kinds=kinds, shapes=shapes))


def _objective(config: ModelConfig, encoder: TextEncoder, world: World, share: float = 1.0) -> TrainingObjective:
    return TrainingObjective(config, encoder, WorldSource(world), 3, text_dropout=0.0, streaming_share=share)


def test_training_draws_chunks_by_seed_sample_and_step_alone(tiny: ModelConfig, encoder: TextEncoder) -> None:
    together, noise = _objective(tiny, encoder, WORLD).batch([4, 9], 6)
    torch.rand(7)
    alone, alone_noise = _objective(tiny, encoder, WORLD).batch([9], 6)
    n = len(alone.tokens)
    assert torch.equal(together.token_levels[-n:], alone.token_levels)
    assert torch.equal(together.tokens[-n:], alone.tokens)
    assert torch.equal(noise[-n:], alone_noise)
    later, _ = _objective(tiny, encoder, WORLD).batch([9], 7)
    assert not torch.equal(later.token_levels, alone.token_levels)


def test_the_share_of_samples_in_chunks_is_as_said(tiny: ModelConfig, encoder: TextEncoder) -> None:
    counts = {}
    for share in (0.0, 0.5, 1.0):
        objective = _objective(tiny, encoder, WORLD, share)
        counts[share] = sum(objective.batch([index], 0)[0].pattern.rows is not None for index in range(60))
    assert counts[0.0] == 0
    assert 18 <= counts[0.5] <= 42
    assert counts[1.0] == 60
    plain = tiny.model_copy(update={"streaming": None})
    assert _objective(plain, encoder, WORLD).batch([0], 0)[0].pattern.rows is None


def test_a_chunk_is_learnt_behind_what_sampling_leaves_there(tiny: ModelConfig, encoder: TextEncoder) -> None:
    """What the loss counts is one chunk, and all that it sees stands at the context's level, references too."""
    objective = _objective(tiny, encoder, WORLD)
    unlike = []
    for index in range(40):
        pack, noise = objective.batch([index], 0)
        levels, place = pack.token_levels, torch.arange(len(pack.tokens))
        learnt = torch.autograd.functional.jacobian(
            lambda wrong, pack=pack, noise=noise: flow_loss(lambda _: noise - pack.tokens + wrong, pack, noise).total,
            torch.ones_like(noise),
        ).any(-1)
        chunk = levels[learnt].unique()
        around = levels[~learnt]
        if len(chunk) != 1 or not torch.allclose(around, torch.full_like(around, STREAMING.context_level)):
            unlike.append((index, chunk.tolist(), around.unique().tolist()))
        assert int(learnt.sum()) <= STREAMING.chunk_frames * 4
        assert place[learnt].diff().eq(1).all()
    assert unlike == []


def test_context_is_slightly_noised_and_not_learnt(tiny: ModelConfig, encoder: TextEncoder) -> None:
    objective = _objective(tiny, encoder, WORLD)
    shares = []
    for index in range(40):
        pack, noise = objective.batch([index], 0)
        context, levels = pack.context, pack.token_levels
        shares.append(float(context.float().mean()))
        assert torch.allclose(levels[context], torch.tensor(STREAMING.context_level))

        def broken_on_context(noisy: Pack, pack: Pack = pack, noise: Tensor = noise) -> Tensor:
            return noise - pack.tokens + 7 * noisy.context[:, None]

        loss = objective.loss(broken_on_context, [index], 0)
        assert float(loss.total) == pytest.approx(0, abs=1e-6)
        assert float(loss.count) == float((~context).sum()) > 0
        # What is context is noised for real, a reference too.
        assert not torch.equal(noise[context], pack.tokens[context]) or not context.any()
    assert min(shares) == 0
    assert max(shares) > 0.5


def test_shots_have_texts_of_their_own_in_training(tiny: ModelConfig, encoder: TextEncoder, two_shots: World) -> None:
    objective = _objective(tiny, encoder, two_shots)
    # A later shot is reached, behind an odd cut.
    index = next(
        i for i in range(99) if (two_shots.scene(i).cut or 0) % 2 and len(objective.batch([i], 0)[0].runs.lengths) > 1
    )
    pack, _ = objective.batch([index], 0)
    ((_, scene),) = two_shots.clips([index])
    first, second = encoder.encode(scene.captions.shots)
    assert scene.cut is not None
    rows = 4 * 4  # tokens of a frame
    # The reference, which stands behind the clip, goes with the first shot.
    ((shown, *_), *_), *_ = pack.boxes
    assert pack.runs.lengths == (scene.cut * rows, (shown - scene.cut) * rows, rows)
    assert torch.equal(pack.text, torch.cat((first, second, first)))
    ends = np.cumsum(pack.pattern.queries.lengths)
    assert scene.cut * rows in ends  # a chunk ends there, though an odd cut is not where chunks of two end


def test_a_dropped_text_is_dropped_for_all_shots(tiny: ModelConfig, encoder: TextEncoder, two_shots: World) -> None:
    objective = TrainingObjective(tiny, encoder, WorldSource(two_shots), 3, text_dropout=1.0, streaming_share=1.0)
    assert objective.batch([0], 0)[0].textless.all()


def test_a_later_shot_s_reference_is_what_training_builds(
    tiny: ModelConfig, encoder: TextEncoder, awake: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pixels stand before a second shot, at the same places and level, as training lays beside a clip."""
    shown: list[Pack] = []
    model = awake(tiny)
    model.register_forward_pre_hook(lambda _, args: shown.append(args[0]))
    options = StreamOptions(16, 16, 8, 1, 1.0)
    shots = [Shot(PROMPT, 0.5), Shot(OTHER, 0.5)]
    chunks = list(Streamer(model, STREAMING, PixelCodec(), encoder, shots, 1, options, "cpu").run())
    (given_,) = [pack for pack in shown if len(pack.tokens) == 4 and float(pack.places[:, 0].max()) < 0]
    video = torch.from_numpy(np.concatenate(chunks))
    ((_, scene),) = WORLD.clips([0])
    world = World.fixed(7, 8, 16, 16, 8)
    monkeypatch.setattr(world, "clips", lambda _: [(video, scene)])
    objective = _objective(tiny, encoder, world)
    pack, noise = next(
        found for index in range(9) for found in [objective.batch([index], 0)] if len(found[0].boxes[0]) > 1
    )
    beside = slice(len(pack.tokens) - 4, len(pack.tokens))
    level = STREAMING.context_level
    assert torch.equal(given_.places, pack.places[beside])
    assert torch.allclose(given_.token_levels, torch.tensor(level))
    assert torch.allclose(pack.token_levels[beside], torch.tensor(level))
    # The noise of either is its own.
    assert torch.allclose(given_.tokens - (1 - level) * pack.tokens[beside], level * _reference_noise(), atol=1e-6)
    assert not torch.equal(noise[beside], pack.tokens[beside])


def _reference_noise() -> Tensor:
    noise = normal(RngStream.INITIAL_NOISE, 1, [0], 2, (3, 1, 16, 16))[0]
    return patchify(noise, (1, 8, 8))


def test_a_reference_is_never_more_than_the_first_chunk(tiny: ModelConfig) -> None:
    shot = to_uint8(torch.zeros(1, 3, 5, 16, 16))[0]
    for reference, frames, expected in ((0, 5, []), (2, 5, [2]), (2, 1, [1])):
        streaming = STREAMING.model_copy(update={"reference_frames": reference})
        parts = reference_of(tiny, streaming, PixelCodec(), shot[:frames], 8)
        assert [part.latents.shape[1] for part in parts] == expected
        assert all(torch.equal(part.times, token_times(tiny, len(part.times), 8) - len(part.times)) for part in parts)


@given(rows=st.integers(1, 40), full=st.integers(1, 9))
def test_chunks_are_full_but_for_the_last(rows: int, full: int) -> None:
    streaming = StreamingConfig(chunk_frames=full, window_chunks=1)
    lengths = chunk_rows(ModelConfig.from_preset("tiny"), streaming, rows)
    assert sum(lengths) == rows
    assert set(lengths[:-1]) <= {full}
    assert 1 <= lengths[-1] <= full


def test_a_shot_like_itself_forgets_the_first(pipeline: Pipeline) -> None:
    packs: list[Pack] = []
    pipeline.model.register_forward_pre_hook(lambda _, args: packs.append(args[0]))
    shots = [Shot(PROMPT, 0.5), Shot(OTHER, 0.75, like=1)]
    chunks = list(pipeline.stream(shots, 1, steps=1, guidance_scale=1.0))
    beginnings = [pack for pack in packs if float(pack.places[:, 0].max()) < 0]
    expected = [reference_of(pipeline.config, STREAMING, PixelCodec(), torch.from_numpy(chunks[n]), 8) for n in (0, 2)]
    assert len(beginnings) == 2
    level = STREAMING.context_level
    for found, (part,) in zip(beginnings, expected, strict=True):
        clean = pack_samples([Sample((part,), torch.zeros(1, 384))], (1, 8, 8)).tokens
        noise = (found.tokens - (1 - level) * clean) / level
        assert abs(float(noise.std()) - 1) < 0.1
    # The first chunk of the second shot has the window alone before it: two chunks of two frames, and itself.
    keys = [pack.pattern.keys.lengths[0] // 4 for pack in packs if float(pack.levels.max()) == 1]
    assert keys == [2, 2 + 2 + 1, 4 + 2, 4 + 2 + 1, 4 + 2 + 1]

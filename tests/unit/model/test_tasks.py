"""One mechanism for every task: what is given in training is what is given in sampling, and it comes out unchanged."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from examples import examples
from kinema_model import pipeline as pipeline_module
from kinema_model.artefact import save_model
from kinema_model.codec.codec import blank_latents, make_codec, to_float
from kinema_model.codec.masks import tokens_of_mask
from kinema_model.conditions.conditioning import condition, paste, seams
from kinema_model.conditions.task_inputs import Segment, TaskInputs, draw_inputs, inputs_for, training_clip
from kinema_model.conditions.tasks import TRAINED_BY, Task, check_task, draw_task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.diffusion.flow import flow_loss
from kinema_model.ema import Ema
from kinema_model.errors import ShapeError, TaskError
from kinema_model.network.pack import Part, Sample, pack_samples
from kinema_model.pipeline import Pipeline
from kinema_model.rng import RngStream, generator
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.objective import TrainingObjective
from kinema_world import World
from kinema_world.source import WorldSource

SHAPE = (8, 24, 24)
TRAINED = tuple(task for task in Task if task not in TRAINED_BY)
GIVEN = [task for task in TRAINED if task not in (Task.TEXT, Task.PICTURE)]
SEED = 3


@pytest.fixture(params=["pixel", "world"])
def config(request: pytest.FixtureRequest) -> ModelConfig:
    fields = {"codec": request.param, "max_frames": 16, "tasks": TRAINED}
    return ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, **fields)


@pytest.fixture
def pipeline(
    tmp_path: Path, config: ModelConfig, encoder: TextEncoder, awake: Callable[..., VideoDenoiser]
) -> Pipeline:
    save_model(tmp_path, Ema(awake(config), 0.9).shadow, config, "# Random weights")
    return Pipeline(tmp_path, text_encoder=encoder)


def clip(index: int) -> Tensor:
    """A true clip (3, T, H, W) in [-1, 1]."""
    ((video, _),) = World.fixed(7, *SHAPE, fps=8).clips([index])
    return to_float(video[None])[0]


def parts(config: ModelConfig, inputs: TaskInputs, latents: Tensor | None = None) -> tuple[Part, ...]:
    blank = blank_latents(config, *SHAPE)
    return condition(config, make_codec(config), blank if latents is None else latents, config.fps, inputs)


def pixels(video: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(((video + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy())


@pytest.mark.parametrize("task", GIVEN)
def test_conditions_are_the_same_tensors_in_training_and_in_sampling(
    task: Task, config: ModelConfig, pipeline: Pipeline, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, step = 11, 5
    objective = TrainingObjective(config, encoder, WorldSource(World.fixed(7, *SHAPE, fps=8)), SEED, tasks={task: 1.0})
    trained, _ = objective.batch([index], step)
    draw = generator(RngStream.TASK, SEED, index, step)
    assert draw_task({task: 1.0}, draw) is task
    inputs = draw_inputs(task, training_clip(task, clip(index), clip(index + (1 << 40))), draw)

    asked: list[Sample] = []

    def keep(_: object, samples: Sequence[Sample], *others: object, **more: object) -> list[Tensor]:
        asked.extend(samples)
        return [samples[0].parts[0].latents]

    monkeypatch.setattr(pipeline_module, "sample", keep)
    pipeline.complete(task, "a red square", 1, inputs)
    sampled = pack_samples(asked, config.patch)

    held = trained.token_levels == 0
    assert held.any()
    assert torch.equal(held, sampled.token_levels == 0)
    assert torch.equal(trained.tokens[held], sampled.tokens[held])
    assert torch.equal(trained.places, sampled.places)
    assert torch.equal(trained.scaled_places, sampled.scaled_places)


@pytest.mark.parametrize("task", GIVEN)
def test_loss_is_taken_only_of_what_is_made(task: Task, config: ModelConfig, encoder: TextEncoder) -> None:
    objective = TrainingObjective(config, encoder, WorldSource(World.fixed(7, *SHAPE, fps=8)), SEED, tasks={task: 1.0})
    pack, noise = objective.batch([1, 2], 0)
    made = int((pack.token_levels > 0).sum())
    assert 0 < made < len(pack.tokens)
    assert flow_loss(objective_free, pack, noise).count == made


def objective_free(pack: object) -> Tensor:
    """A velocity of nothing."""
    return torch.zeros_like(pack.tokens)  # type: ignore[attr-defined]


def test_a_given_frame_later_in_the_clip_is_encoded_alone_at_its_own_time(config: ModelConfig) -> None:
    video = clip(2)
    whole, beside = parts(config, TaskInputs((Segment(video[:, 5:6], 5),)))
    assert torch.equal(beside.latents, make_codec(config).encode(video[None, :, 5:6])[0])
    assert float(beside.times[0]) == pytest.approx(5 / config.fps * config.reference_fps)
    assert float(beside.levels.max()) == 0
    assert float(whole.levels.min()) == 1


@settings(max_examples=examples(40), deadline=None)
@for_all(
    row=st.integers(0, 23),
    column=st.integers(0, 23),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    codec=st.sampled_from(["pixel", "world"]),
)
def test_a_mask_is_rounded_outward_to_patches(row: int, column: int, height: int, width: int, codec: str) -> None:
    config = ModelConfig.from_preset("tiny", codec=codec)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, row : row + height, column : column + width] = True
    levels = tokens_of_mask(config.grid, mask)
    pt, ph, pw = config.grid.cell
    made = levels.repeat_interleave(pt, 0).repeat_interleave(ph, 1).repeat_interleave(pw, 2).bool()
    assert (made | ~mask).all()
    rows, columns = -(-min(row + height, 24) // ph) - row // ph, -(-min(column + width, 24) // pw) - column // pw
    assert int(levels.sum()) == SHAPE[0] // pt * rows * columns
    # Nothing of the region leaks into what is given, not even where a patch's edge is outside the mask.
    video = clip(3)
    changed = torch.where(mask, -video, video)
    one, other = (parts(config, TaskInputs(source=source, mask=mask))[0].latents for source in (video, changed))
    assert torch.equal(one, other)


@pytest.mark.parametrize("task", [Task.IMAGE, Task.EXTEND, Task.EXTEND_BACK, Task.FILL, Task.LOOP, Task.BLEND])
def test_given_frames_come_out_bit_for_bit(task: Task, pipeline: Pipeline) -> None:
    video, other = clip(4), clip(5)
    few = {Task.IMAGE: 1, Task.LOOP: 1, Task.BLEND: 8}.get(task, 3)
    inputs = inputs_for(task, 8, video[:, :few], other[:, : few if task is Task.BLEND else 2])
    done = pipeline.complete(task, "a red square moves right", 1, inputs, steps=2)
    assert (done.video.shape, done.video.dtype) == ((8, 24, 24, 3), np.uint8)
    for segment in inputs.segments:
        count = min(segment.video.shape[1], 8 - segment.at)
        assert np.array_equal(done.video[segment.at : segment.at + count], pixels(segment.video[:, :count]))
    assert done.seams


def test_only_the_masked_region_and_a_fading_rim_change(pipeline: Pipeline) -> None:
    video = clip(4)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, 8:16, 8:16] = True
    done = pipeline.complete(Task.INPAINT, "a red square", 1, inputs_for(Task.INPAINT, 8, video, mask=mask), steps=2)
    changed = (done.video != pixels(video)).any(axis=-1)
    reach = pipeline.config.grid.cell[1] // 2
    assert changed[:, 8:16, 8:16].mean() > 0.9
    outside = np.ones(SHAPE, dtype=bool)
    outside[:, 8 - reach : 16 + reach, 8 - reach : 16 + reach] = False
    assert not changed[outside].any()


def test_an_edit_keeps_more_of_its_source_the_weaker_it_is(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    # A model that changes nothing shows where the edit begins; what random weights end in says nothing of that.
    monkeypatch.setattr(pipeline.model, "forward", lambda pack: torch.zeros_like(pack.tokens))
    video = clip(4)
    inputs = inputs_for(Task.EDIT, 8, video)
    distance = [
        np.abs(
            pipeline.complete(Task.EDIT, "a blue circle", 1, inputs, steps=4, strength=strength).video.astype(int)
            - pixels(video)
        ).mean()
        for strength in (0.05, 0.5, 1.0)
    ]
    assert distance[0] < distance[1] < distance[2]
    with pytest.raises(ShapeError, match="more than 0 and at most 1"):
        pipeline.complete(Task.EDIT, "a blue circle", 1, inputs, strength=1.5)


def test_pasting_nothing_changes_nothing() -> None:
    made = torch.rand(3, *SHAPE)
    assert torch.equal(paste(made, TaskInputs(), (1, 8, 8)), made)
    assert seams(made, TaskInputs()) == []


def test_a_loop_is_practised_on_a_clip_that_turns_back() -> None:
    video = clip(6)
    loop = training_clip(Task.LOOP, video, None)
    assert torch.equal(loop[:, 0], video[:, 0])
    assert torch.equal(loop[:, 4], video[:, 4])
    # The frame behind the last is the first again, one step away from it like any other.
    assert torch.equal(loop[:, 7], video[:, 1])


def test_a_blend_is_practised_on_a_clip_that_dissolves() -> None:
    first, last = clip(6), clip(7)
    blend = training_clip(Task.BLEND, first, last)
    assert torch.equal(blend[:, 0], first[:, 0])
    assert torch.equal(blend[:, -1], last[:, -1])


@pytest.mark.parametrize(("task", "words"), [(Task.BLEND, ", then "), (Task.LOOP, " and back")])
def test_what_a_clip_was_turned_into_is_told(
    task: Task, words: str, config: ModelConfig, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    encode = encoder.encode

    def hear(texts: Sequence[str]) -> list[Tensor]:
        told.extend(texts)
        return encode(texts)

    monkeypatch.setattr(encoder, "encode", hear)
    world = World.fixed(7, *SHAPE, fps=8)
    objective = TrainingObjective(config, encoder, WorldSource(world), SEED, tasks={task: 1.0}, text_dropout=0)
    objective.batch([2], 0)
    assert words in told[0]


def test_a_seam_is_measured_before_pasting() -> None:
    made = torch.zeros(3, 4, 8, 8)
    (seam,) = seams(made, TaskInputs((Segment(torch.ones(3, 1, 8, 8), 0),)))
    assert (seam.frame, seam.jump, seam.usual) == (1, 1.0, 0.0)
    (loop,) = seams(made, TaskInputs((Segment(torch.full((3, 1, 8, 8), 0.5), 4),)))
    assert (loop.frame, loop.jump) == (4, 0.5)


def test_a_task_that_was_not_trained_is_refused_with_those_that_were(pipeline: Pipeline) -> None:
    with pytest.raises(TaskError, match=r"not trained for 'inpaint'. Use one of: text, image, edit"):
        check_task(Task.INPAINT, (Task.TEXT, Task.IMAGE))
    check_task(Task.EDIT, (Task.TEXT,))
    with pytest.raises(TaskError, match=r"needs no training of its own. Train 'text' for it"):
        draw_inputs(Task.EDIT, clip(1), np.random.default_rng(1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda v: inputs_for(Task.FILL, 8, v[:, :1]), "Give the second one too"),
        (lambda v: inputs_for(Task.INPAINT, 8, v), "needs a mask"),
        (lambda v: inputs_for(Task.IMAGE, 8, v), "Give one frame"),
        (lambda v: inputs_for(Task.TEXT, 8, v), "Remove the clips"),
        (lambda v: inputs_for(Task.BLEND, 8, v, v[:, :4]), "two clips of so many"),
        (lambda v: parts_of_tiny(TaskInputs((Segment(v[:, :, :16], 0),))), r"Give \(3, t, 24, 24\)"),
        (lambda v: parts_of_tiny(TaskInputs((Segment(v[:, :1], 9),))), "Use 0 to 8"),
        (lambda v: parts_of_tiny(TaskInputs(source=v[:, :4])), r"Give \(3, 8, 24, 24\)"),
        (
            lambda v: parts_of_tiny(TaskInputs(source=v, mask=torch.ones(8, 9, 9) > 0)),
            r"Give \(8, 24, 24\) and a source",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(make: Callable[[Tensor], object], sentence: str) -> None:
    with pytest.raises((TaskError, ShapeError), match=sentence):
        make(clip(1))


def parts_of_tiny(inputs: TaskInputs) -> tuple[Part, ...]:
    return parts(ModelConfig.from_preset("tiny"), inputs)

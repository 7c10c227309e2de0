"""The world of a training follows from its data and its model; what cannot be shown is a user's error."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch

from kinema_api.data import WorldData
from kinema_api.run import RunConfig
from kinema_api.training import ModelChoice, ModelOverrides
from kinema_jobs.rendezvous.questions import Place
from kinema_jobs.train.export import card
from kinema_jobs.train.failures import BadConfiguration, termination_message
from kinema_jobs.train.group import Group
from kinema_jobs.train.shape import model_config_of
from kinema_jobs.train.train_state import TrainState
from kinema_jobs.train.world import source_of
from kinema_model.conditions.tasks import Task
from kinema_model.config import PRESETS, ModelConfig
from kinema_world import Scene, SceneKind, World
from kinema_world.world import belongs

pytestmark = pytest.mark.slow


TINY, SMALL = PRESETS["tiny"], PRESETS["small"]
MIXED = [name for name in WorldData().scenes.to_wire() if name != "simple"]
SHOWN = 80


def world(model: ModelConfig, **data: Any) -> World:
    return source_of(WorldData.model_validate(data), model).world


def run_config(**data: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "namespace": "default",
            "name": "trial",
            "uid": "u",
            "run": 1,
            "attempt": 1,
            "model": {"preset": "tiny", "overrides": {"width": 24, "depth": 1, "heads": 2}},
            "data": {"world": data},
            "optimization": {"steps": 20},
            "checkpointEvery": 10,
        }
    )


def alone() -> Group:
    """A group of one; no process group behind it."""
    place = Place("u/1/1", 1, "token", "me", 0, 1, 0, 1, "127.0.0.1:1")
    return Group(place, 0, 1, 0, 1, torch.device("cpu"), "127.0.0.1:1", 1.0, None)


def same(one: Scene, other: Scene) -> bool:
    ways = [[track.positions for track in scene.tracks] for scene in (one, other)]
    return one.captions == other.captions and np.array_equal(*ways)


@pytest.mark.parametrize("data", [{}, {"scenes": {"simple": 1}}, {"scenes": {"simple": 4}}, {"richCaptions": 1}])
def test_simple_scenes_alone_are_those_of_one_shape_that_are_not_held_out(data: dict[str, Any]) -> None:
    shown = world(TINY, seed=7, **data)
    fixed = World.fixed(7, TINY.frames, TINY.height, TINY.width_px, TINY.fps)
    kept = [index for index in range(SHOWN) if belongs(fixed.scene(index).shots, "train")]
    assert 0 < len(kept) < SHOWN
    assert all(same(shown.scene(index), fixed.scene(index)) for index in kept)
    assert all(belongs(shown.scene(index).shots, "train") for index in range(SHOWN))


@pytest.mark.parametrize("name", MIXED)
def test_every_kind_is_shown_in_the_small_clip_and_nothing_held_out(name: str) -> None:
    shown = world(SMALL, scenes={name: 1, "simple": 1})
    scenes = [shown.scene(index) for index in range(SHOWN)]
    assert len({scene.kind for scene in scenes}) == 2
    assert all(belongs(scene.shots, "train") for scene in scenes)
    assert {(scene.shape.frames, scene.shape.height, scene.shape.width) for scene in scenes} - {(1, 64, 64)} == {
        (16, 64, 64)
    }


def test_kinds_come_by_weight_and_another_seed_is_another_world() -> None:
    shown = world(SMALL, seed=1, scenes={"bounce": 3, "gravity": 1})
    kinds = [shown.scene(index).kind for index in range(400)]
    assert 260 < kinds.count(SceneKind.BOUNCE) < 340
    assert kinds.count(SceneKind.BOUNCE) + kinds.count(SceneKind.GRAVITY) == 400
    assert not same(shown.scene(0), world(SMALL, seed=2, scenes={"bounce": 3, "gravity": 1}).scene(0))


@pytest.mark.parametrize(
    ("model", "scenes", "sentence"),
    [
        (TINY, {"bounce": 1}, "outside 32 to 128 px"),
        (TINY, {"simple": 100, "several": 0.1}, "outside 32 to 128 px"),
        (SMALL.model_copy(update={"frames": 8}), {"occlude": 1}, "'occlude', for which every clip is too short"),
        (SMALL.model_copy(update={"frames": 8}), {"twoShot": 1}, "it needs 14 of them and 0.6 s"),
        (SMALL.model_copy(update={"fps": 10}), {"paint": 1}, "fps .10,. is not among"),
    ],
)
def test_a_scene_that_the_clip_cannot_show_is_a_users_error(
    model: ModelConfig, scenes: dict[str, float], sentence: str
) -> None:
    with pytest.raises(BadConfiguration, match=sentence) as refused:
        world(model, scenes=scenes)
    assert "Choose another preset" in str(refused.value)
    assert termination_message(refused.value, None).failure_class == "user_error"


def test_clips_of_several_lengths_rates_and_sizes_come_equally_often() -> None:
    shown = world(
        SMALL, scenes={"several": 1}, shapes={"frames": [8, 16], "fps": [8, 24], "minSide": 48, "maxSide": 64}
    )
    shapes = [shown.shape(index) for index in range(120)]
    assert {shape.frames for shape in shapes} == {8, 16}
    assert {shape.fps for shape in shapes} == {8, 24}
    assert {shape.height for shape in shapes} == {shape.width for shape in shapes} == {48, 56, 64}
    assert 40 < sum(shape.frames == 8 for shape in shapes) < 80


def test_what_the_shapes_leave_open_is_as_in_the_models_own_clip() -> None:
    shown = world(SMALL, scenes={"several": 1, "image": 1}, shapes={"frames": [16, 24]})
    shapes = {shown.shape(index) for index in range(100)}
    assert {(shape.height, shape.width, shape.fps) for shape in shapes} == {(64, 64, 8)}
    assert {shape.frames for shape in shapes} == {1, 16, 24}


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ({"frames": [8, 24]}, "own clip is not among data.world.shapes"),
        ({"fps": [12]}, "own clip is not among data.world.shapes"),
        ({"minSide": 32, "maxSide": 56}, "own clip is not among data.world.shapes"),
        ({"fps": [8, 10]}, "fps .* is not among"),
        ({"minSide": 64, "maxSide": 136}, "outside 32 to 128 px"),
    ],
)
def test_shapes_that_do_not_fit_the_model_are_a_users_error(shapes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadConfiguration, match=sentence):
        world(SMALL, scenes={"several": 1}, shapes=shapes)


def test_a_step_too_small_for_a_clip_names_the_field() -> None:
    config = run_config().model_copy(
        update={"optimization": run_config().optimization.model_copy(update={"batch_tokens": 71})}
    )
    with pytest.raises(BadConfiguration, match=r"optimization.batchTokens: A step of 71 tokens .* which has 72"):
        TrainState.build(config, alone())


def test_a_model_records_rates_and_pictures_that_it_is_shown() -> None:
    config = run_config(scenes={"simple": 1, "image": 1}, shapes={"fps": [24, 8]})
    model = model_config_of(config)
    assert (model.rates, model.tasks) == ((8, 24), (Task.TEXT, Task.PICTURE))
    plain = model_config_of(run_config())
    assert (plain.rates, plain.tasks) == ((), (Task.TEXT,))


@pytest.mark.parametrize("codec", get_args(get_args(ModelOverrides.model_fields["codec"].annotation)[0]))
def test_a_training_takes_the_codec_that_is_chosen(codec: str) -> None:
    chosen = ModelChoice.parse({"preset": "tiny", "overrides": {"codec": codec, "width": 24, "heads": 2}})
    model = model_config_of(run_config().model_copy(update={"model": chosen}))
    assert (model.codec, model.grid.cell, model.network.width) == (codec, TINY.grid.cell, 24)
    assert model.tokens_per_clip == TINY.tokens_per_clip


@pytest.mark.parametrize(
    ("overrides", "shapes", "limits"),
    [
        ({}, {}, (64, 256)),
        ({"frames": 32, "size": "128x64"}, {}, (64, 256)),
        ({"frames": 1000, "size": "64x1024"}, {}, (1000, 1024)),
        ({}, {"frames": [8, 500], "minSide": 24, "maxSide": 512}, (500, 512)),
    ],
)
def test_a_spec_that_asks_for_larger_clips_raises_the_limits_of_its_model(
    overrides: dict[str, Any], shapes: dict[str, Any], limits: tuple[int, int]
) -> None:
    config = run_config(shapes=shapes) if shapes else run_config()
    chosen = ModelChoice.parse({"preset": "tiny", "overrides": overrides})
    model = model_config_of(config.model_copy(update={"model": chosen}))
    assert (model.max_frames, model.max_side) == limits


def test_a_trainer_refuses_it_at_its_start() -> None:
    with pytest.raises(BadConfiguration, match="the preset 'tiny', 8 frames of 24x24 px at 8 fps"):
        TrainState.build(run_config(scenes={"collide": 1}), alone())


@pytest.mark.parametrize("share", [0, 0.4])
def test_a_trainer_tells_rich_captions_at_the_share_asked_for(share: float) -> None:
    fitting = TrainState.build(run_config(richCaptions=share), alone())
    assert fitting.objective.rich_captions == share


def test_a_models_card_says_what_it_was_shown_and_told() -> None:
    said = card(run_config(seed=5, scenes={"simple": 1, "twoShot": 0.5}, richCaptions=0.25), 0.1, 0.2, "sha256:5")
    assert "| data | synthetic world, seed 5; scenes by weight: simple 1, two-shot 0.5 |" in said
    assert "| digest of the data | sha256:5: " in said
    assert "| captions | rich for a share of 0.25, short for the rest |" in said

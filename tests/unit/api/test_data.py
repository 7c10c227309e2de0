"""What a training may say of its data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinema_api.data import (
    LONG_FOLDERS,
    NO_DATA,
    NO_SCENE,
    NO_TASK,
    NO_WEIGHT,
    SAME_FOLDER,
    Data,
    SceneMix,
    TaskMix,
)
from kinema_api.errors import InvalidManifest
from kinema_api.launch import clip_target
from kinema_api.recorded import MAX_PREFIXES
from kinema_api.training import OTHER_BUCKET, ModelChoice, VideoModelTraining, VideoModelTrainingSpec
from kinema_model.conditions.tasks import TRAINED_BY, Task
from kinema_model.config import PRESETS
from kinema_world import SceneKind

CLIPS = "s3://kinema/inputs/team/clips/"


def test_without_a_word_simple_scenes_are_shown_and_short_captions_told() -> None:
    data = Data.parse({"world": {}})
    assert data.world is not None
    assert {name: weight for name, weight in data.world.scenes.weights().items() if weight} == {"simple": 1}
    assert data.world.rich_captions == 0
    assert data == Data.parse(data.to_wire())


def test_recorded_clips_need_no_world_and_have_a_share_of_rich_captions_of_their_own() -> None:
    data = Data.parse({"videos": [{"uri": CLIPS}]})
    assert (data.world, data.rich_captions) == (None, 0.5)
    (clips,) = data.videos
    assert (clips.weight, clips.filters.min_frames, clips.captions.endpoint) == (1, 8, None)
    assert data == Data.parse(data.to_wire())


@pytest.mark.parametrize(
    ("uri", "refused"),
    [
        ("s3://kinema/inputs/team/clips/", False),
        ("s3://kinema/inputs/team/旅行/", False),
        ("s3://kinema/inputs/team/clips", True),
        ("s3://kinema/", True),
        ("s3://kinema/a//b/", True),
        ("s3://kinema/a/../b/", True),
        ("http://kinema/a/", True),
        ("s3://kinema/a\n/", True),
    ],
)
def test_a_folder_s_uri_ends_in_a_slash(uri: str, refused: bool) -> None:
    if refused:
        with pytest.raises(InvalidManifest, match="a folder's uri is s3://BUCKET/PREFIX/"):
            Data.parse({"videos": [{"uri": uri}]})
    else:
        assert Data.parse({"videos": [{"uri": uri}]}).videos[0].uri == uri


def test_clips_lie_in_the_bucket_of_the_training_s_store() -> None:
    store = {"endpoint": "http://minio:9000", "bucket": "team", "secretRef": {"name": "keys"}}
    spec = {"model": {"preset": "tiny"}, "optimization": {"steps": 1}, "artifactStore": store}
    VideoModelTrainingSpec.parse({**spec, "data": {"videos": [{"uri": "s3://team/clips/"}]}})
    with pytest.raises(InvalidManifest, match=OTHER_BUCKET):
        VideoModelTrainingSpec.parse({**spec, "data": {"videos": [{"uri": "s3://teams/clips/"}]}})


def test_the_training_on_the_page_about_clips_is_one() -> None:
    page = Path(__file__).parents[3] / "docs/training-on-clips.md"
    (shown,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    (clips,) = VideoModelTraining.parse(yaml.safe_load(shown)).spec.data.videos
    assert clips.uri == "s3://kinema/inputs/default/rivers/"


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ({"preset": "tiny"}, (8, 576, 8)),
        ({"preset": "small"}, (16, 4096, 8)),
        ({"preset": "tiny", "overrides": {"frames": 24, "size": "48x32", "fps": 12}}, (24, 1536, 12)),
    ],
)
def test_clips_are_packed_to_the_model_s_own_clip(model: dict[str, Any], target: tuple[int, int, int]) -> None:
    found = clip_target(ModelChoice.parse(model))
    assert (found.frames, found.pixels, found.fps) == target
    assert found.cell == PRESETS[model["preset"]].grid.cell


def test_names_are_those_of_the_model_package() -> None:
    assert {SceneKind(name) for name in SceneMix(simple=1).weights()} == set(SceneKind)
    # Pictures are taught by scenes of one frame.
    assert {Task(name) for name in TaskMix(text=1).weights()} == set(Task) - set(TRAINED_BY) - {Task.PICTURE}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"world": {"scenes": {}}}, NO_SCENE),
        ({"world": {"scenes": {"simple": 0}}}, NO_SCENE),
        ({"world": {"scenes": {"bounce": -1}}}, "greater than or equal to 0"),
        ({"world": {"scenes": {"bounce": 1001}}}, "less than or equal to 1000"),
        ({"world": {"scenes": {"bounce": float("nan")}}}, "bounce"),
        ({"world": {"richCaptions": 1.1}}, "less than or equal to 1"),
        ({"world": {"richCaptions": -0.1}}, "greater than or equal to 0"),
        ({"world": {}, "tasks": {"text": 0}}, NO_TASK),
        ({}, NO_DATA),
        ({"videos": []}, NO_DATA),
        ({"world": {"weight": 0}}, NO_WEIGHT),
        ({"world": {"weight": 0}, "videos": [{"uri": CLIPS, "weight": 0}]}, NO_WEIGHT),
        ({"videos": [{"uri": CLIPS}, {"uri": CLIPS, "weight": 2}]}, SAME_FOLDER),
        ({"videos": [{"uri": f"s3://bb/{letter * 200}/"} for letter in "abc"]}, LONG_FOLDERS),
        ({"videos": [{"uri": f"s3://bb/{number}/"} for number in range(MAX_PREFIXES + 1)]}, "at most 8 items"),
        ({"videos": [{"uri": CLIPS}], "richCaptions": 2}, "less than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidManifest, match=sentence):
        Data.parse(data)

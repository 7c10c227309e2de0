"""What a training may say of its data."""

from __future__ import annotations

from typing import Any

import pytest

from kinema_api.data import NO_SCENE, NO_TASK, Data, SceneMix, TaskMix
from kinema_api.errors import InvalidManifest
from kinema_model.conditions.tasks import TRAINED_BY, Task
from kinema_world import SceneKind


def test_without_a_word_simple_scenes_are_shown_and_short_captions_told() -> None:
    data = Data.parse({"world": {}})
    assert {name: weight for name, weight in data.world.scenes.weights().items() if weight} == {"simple": 1}
    assert data.world.rich_captions == 0
    assert data == Data.parse(data.to_wire())


def test_names_are_those_of_the_model_package() -> None:
    assert {SceneKind(name) for name in SceneMix(simple=1).weights()} == set(SceneKind)
    # Pictures are taught by scenes of one frame.
    assert {Task(name) for name in TaskMix(text=1).weights()} == set(Task) - set(TRAINED_BY) - {Task.PICTURE}


@pytest.mark.parametrize(
    ("scenes", "plain"),
    [
        ({"simple": 1}, True),
        ({"simple": 0.5, "bounce": 0}, True),
        ({"simple": 3, "bounce": 0.1}, False),
        ({"twoShot": 1}, False),
    ],
)
def test_only_simple_scenes_are_plain(scenes: dict[str, float], plain: bool) -> None:
    assert SceneMix.parse(scenes).plain is plain


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
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidManifest, match=sentence):
        Data.parse(data)

"""Captions say what is so, and can be read back."""

from dataclasses import replace

import pytest

from kinema_world import (
    COLOURS,
    SIZES,
    SPEEDS,
    Facts,
    Motion,
    ObjectFacts,
    SceneKind,
    ShotFacts,
    World,
    WorldConfig,
    caption_of,
    combinations,
    parse_caption,
    rich_caption,
    short_caption,
)
from kinema_world.captions import shot_captions
from kinema_world.errors import CaptionError

pytestmark = pytest.mark.slow


SCENES = 120


@pytest.mark.parametrize("kind", SceneKind)
def test_captions_are_read_back_as_the_facts(kind: SceneKind) -> None:
    world = World(WorldConfig(kinds={kind: 1.0}, split="all"))
    for index in range(SCENES):
        scene = world.scene(index)
        assert parse_caption(scene.captions.short) == scene.facts.brief()
        assert parse_caption(scene.captions.rich) == scene.facts


@pytest.mark.parametrize("kind", SceneKind)
def test_facts_are_the_state(kind: SceneKind) -> None:
    """Words are held against numbers, not against the words they were made from."""
    world = World(WorldConfig(kinds={kind: 1.0}, split="all"))
    for index in range(SCENES):
        scene = world.scene(index)
        for shot, facts in zip(scene.shots, scene.facts.shots, strict=True):
            for track, said in zip(shot.tracks, facts.objects, strict=True):
                if len(track.positions) < 2:
                    continue
                if said.size:
                    low, high = SIZES[said.size]
                    assert low <= track.appearance.radius / scene.shape.side <= high
                if said.speed:
                    assert track.speed is not None
                    low, high = SPEEDS[said.speed]
                    assert low <= track.speed <= (high if said.speed != "quickly" else 1.35)
                    world_velocity = (track.world_positions[1] - track.world_positions[0]) * scene.shape.fps
                    assert (world_velocity**2).sum() ** 0.5 / scene.shape.side == pytest.approx(track.speed)
                if said.heading and said.motion is not Motion.STRUCK:
                    across, down = (track.world_positions[1] - track.world_positions[0]).round(6)
                    assert ("left" in said.heading, "right" in said.heading) == (across < 0, across > 0)
                    assert ("up" in said.heading, "down" in said.heading) == (down < 0, down > 0)


@pytest.mark.parametrize("kind", SceneKind)
def test_a_short_caption_can_be_said_at_length_again(kind: SceneKind) -> None:
    """What is parsed from a short caption makes a rich one that claims no more."""
    world = World(WorldConfig(seed=2, kinds={kind: 1.0}, split="all"))
    for index in range(30):
        facts = parse_caption(world.scene(index).captions.short)
        assert parse_caption(rich_caption(facts)) == facts


def test_half_of_the_short_captions_are_canonical() -> None:
    world = World.fixed(7, 8, 24, 24, 8)
    scenes = [world.scene(index) for index in range(300)]
    canonical = sum(scene.captions.short == caption_of(scene.attributes) for scene in scenes)
    assert 110 < canonical < 190
    assert caption_of(combinations()[0]) == "a red square moves left"


def test_the_wordings_of_a_simple_scene() -> None:
    world = World.fixed(7, 8, 24, 24, 8)
    wanted = combinations()[1]
    said = {scene.captions.short for scene in map(world.scene, range(4000)) if scene.attributes == wanted}
    assert said == {
        "a red square moves right",
        "a red square moving right",
        "the red square moves right",
        "a red square goes right",
        "red square, moving right",
        "a square that is red moves right",
    }


def test_two_shots_have_a_caption_each() -> None:
    world = World(WorldConfig(kinds={SceneKind.TWO_SHOT: 1.0}))
    recalled = 0
    for index in range(30):
        scene = world.scene(index)
        assert len(scene.captions.shots) == 2
        recalled += "the same object" in scene.captions.shots[1]
        for caption, shot in zip(scene.captions.shots, scene.facts.shots, strict=True):
            read = parse_caption(caption).shots[0].objects
            for thing, meant in zip(read, shot.objects, strict=True):
                assert thing.motion == meant.motion
                assert (thing.colour, thing.shape) in ((meant.colour, meant.shape), (None, None))
        assert "the same" in scene.captions.rich.lower()
    assert 5 < recalled < 25


def test_captions_of_shots_that_recall_tell_nothing_of_what_comes_back() -> None:
    world = World(WorldConfig(kinds={SceneKind.TWO_SHOT: 1.0}))
    for index in range(30):
        facts = world.scene(index).facts
        thing = facts.shots[0].objects[0]
        plain, recalling = (shot_captions(facts, recall=recall) for recall in (False, True))
        assert plain[0] == recalling[0]
        assert f"{thing.colour} {thing.shape}" in plain[1]
        assert f"{thing.colour} {thing.shape}" not in recalling[1]


def test_what_is_not_known_is_not_said() -> None:
    thing = ObjectFacts("red", "circle", motion=Motion.STRAIGHT, heading="up")
    facts = Facts(SceneKind.SIMPLE, (ShotFacts((thing,)),))
    assert rich_caption(facts) == "A red circle moves up."
    sized = replace(facts, shots=(ShotFacts((replace(thing, size="large"),), background="grey", pan="still"),))
    assert rich_caption(sized) == "A large red circle moves up. The background is grey. The camera is still."
    assert short_caption(sized) == "a red circle moves up"


def test_every_colour_can_be_bound_to_its_own_object() -> None:
    things = tuple(ObjectFacts(colour, "circle", motion=Motion.STILL) for colour in list(COLOURS)[:3])
    facts = Facts(SceneKind.SEVERAL, (ShotFacts(things),))
    said = "a red circle stays still, a green circle stays still and a blue circle stays still"
    assert short_caption(facts) == said
    assert parse_caption(said) == facts


@pytest.mark.parametrize(
    "text",
    ["", "a dog runs", "a red square", "a red square sings", "a purple square moves left", "a red square moves away"],
)
def test_what_the_grammar_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(CaptionError, match="Word it as"):
        parse_caption(text)

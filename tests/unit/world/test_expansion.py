"""What is said stays, what is added is what the world itself would say, and what is not understood stays whole."""

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from examples import examples
from kinema_model.text.encoder import MAX_TOKENS
from kinema_model.text.weights import bundled_folder
from kinema_world import (
    COLOURS,
    SHAPES,
    SIZES,
    SPEEDS,
    Facts,
    Motion,
    ObjectFacts,
    SceneKind,
    ShotFacts,
    World,
    WorldConfig,
    parse_caption,
    rich_caption,
)
from kinema_world.expansion import COMPLETED, expand
from kinema_world.vocabulary import BACKGROUNDS, DIAGONALS, DIRECTIONS

WORLDS = {kind: World(WorldConfig(seed=4, kinds={kind: 1.0}, split="all")) for kind in SceneKind}
SCENES = st.tuples(st.sampled_from(SceneKind), st.integers(0, 300))
SEEDS = st.integers(0, 2**53 - 1)
WORDS = [
    *COLOURS,
    *SHAPES,
    *SIZES,
    *(f"a {colour} {shape}" for colour in ("red", "blue") for shape in SHAPES),
    *(f"{verb} {heading}" for verb in ("moves", "going") for heading in (*DIRECTIONS, "up and left", "left slowly")),
    "and",
    ";",
    ".",
    ", which",
    "; cut to",
    "shot 1:",
    "a picture of",
    "falls",
    "bounces once",
    "and bounces off the left wall, then the top wall",
    "and hits",
    "and passes behind a screen",
    "and paints a white trail",
    "stays still",
    "while the camera pans left",
    "the camera is still",
    "the background is grey",
    "never",
    "\u202edog",
]


def stated(facts: Facts) -> set[tuple[str, object]]:
    return set(facts.items())


def subjects(facts: Facts) -> list[str]:
    return [address for address, _ in facts.items()]


def less(facts: Facts, keep: set[str]) -> Facts:
    """The facts without those sizes, speeds, backgrounds and cameras that are not to be kept."""
    pans = [shot.pan if shot.pan != "still" or "pan" in keep else None for shot in facts.shots]
    dropped: dict[str, None] = {name: None for name in ("background", "pan_speed") if name not in keep}
    unsaid: dict[str, None] = {name: None for name in ("size", "speed") if name not in keep}
    shots = [
        replace(shot, pan=pan, objects=tuple(replace(thing, **unsaid) for thing in shot.objects), **dropped)
        for shot, pan in zip(facts.shots, pans, strict=True)
    ]
    return replace(facts, shots=tuple(shots))


@given(which=SCENES, seed=SEEDS, keep=st.sets(st.sampled_from(["size", "speed", "background", "pan", "pan_speed"])))
@settings(deadline=None)
def test_what_is_said_stays_and_what_the_world_would_tell_is_added(
    which: tuple[SceneKind, int], seed: int, keep: set[str]
) -> None:
    kind, index = which
    truth = WORLDS[kind].scene(index).facts
    said = less(truth, keep)
    expansion = expand(rich_caption(said), seed)
    read = parse_caption(expansion.rich)
    assert expansion.how == COMPLETED
    assert stated(said) <= stated(read)
    assert subjects(read) == subjects(truth)


@given(which=SCENES, seed=SEEDS)
@settings(deadline=None)
def test_short_captions_of_every_wording_are_completed(which: tuple[SceneKind, int], seed: int) -> None:
    kind, index = which
    scene = WORLDS[kind].scene(index)
    expansion = expand(f"  {scene.captions.short.upper()}\n", seed)
    read = parse_caption(expansion.rich)
    assert stated(scene.facts.brief()) <= stated(read)
    assert subjects(read) == subjects(scene.facts)
    assert expansion == expand(expansion.prompt, seed)


@given(which=SCENES, seed=SEEDS)
@settings(deadline=None)
def test_a_rich_caption_has_nothing_to_add(which: tuple[SceneKind, int], seed: int) -> None:
    kind, index = which
    captions = WORLDS[kind].scene(index).captions
    for rich in (captions.rich, expand(captions.short, seed).rich):
        assert expand(rich, seed + 1).rich == rich


@pytest.mark.parametrize("kind", SceneKind)
def test_no_word_is_added_that_the_world_does_not_say_of_such_a_scene(kind: SceneKind) -> None:
    told, added = (defaultdict(set), defaultdict(set))
    for index in range(examples(150)):
        scene = WORLDS[kind].scene(index)
        for facts, seen in ((scene.facts, told), (parse_caption(expand(scene.captions.short, index).rich), added)):
            for shot in facts.shots:
                for thing in shot.objects:
                    seen[f"size of {len(shot.objects)}"].add(thing.size)
                    seen["speed"].add(thing.speed)
                seen["background"].add(shot.background)
                seen["pan speed"].add(shot.pan_speed)
    for name, words in added.items():
        assert words <= told[name], name
    if kind is not SceneKind.SIMPLE:
        assert len(added["background"]) > 2, "drawn, not fixed"


def test_another_seed_draws_other_words() -> None:
    assert len({expand("a red square moves right and a blue circle falls", seed).rich for seed in range(40)}) > 20


def test_saying_one_thing_more_leaves_the_rest_as_it_was() -> None:
    for seed in range(20):
        plain = expand("a red square falls and bounces once", seed).rich
        sized = expand("a large red square falls and bounces once", seed).rich
        assert plain.split("square")[1] == sized.split("square")[1]


def test_what_comes_back_after_a_cut_is_as_large_as_before_and_the_background_changes() -> None:
    for seed in range(30):
        facts = parse_caption(expand("a red square moves right; cut to a large red square stays still", seed).rich)
        assert [thing.size for shot in facts.shots for thing in shot.objects] == ["large", "large"]
        assert len({shot.background for shot in facts.shots}) == 2


def test_an_example() -> None:
    assert expand("a red square moves right", 0).rich == (
        "A red square moves right. The background is black. The camera is still."
    )
    rich = expand("a blue circle moving up and left and bouncing off the left wall; the background is grey", 1).rich
    assert parse_caption(rich).shots[0].objects[0].walls == ("left",)
    assert rich.endswith("bounces off the left wall. The background is grey. The camera is still.")


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "has no shot"),
        ("a dog runs through the snow", "names no object"),
        ("a red square", "does not say what every object does"),
        ("a red square moves right under a rainbow", "has words outside"),
        ("a red square never moves right", "has words outside"),
        ("a red square moves right and bounces", "has words outside"),
        ("a big red square moves right", "has words outside"),
        ("a red square moves right \U0001f600", "has words outside"),
        ("a red square moves right; cut to a picture of a blue circle", "has words outside"),
        ("a red circle, which goes right", "hits another"),
        ("a red circle moves right and hits", "hits another"),
        ("; cut to ".join(["a red square falls"] * 3), "more than two"),
        (", ".join(["a red square moves right"] * 4), "more objects"),
        ("a red square moves right " * 100, "more objects"),
    ],
)
def test_what_is_not_understood_whole_is_left_alone_with_the_reason(prompt: str, reason: str) -> None:
    expansion = expand(prompt, 5)
    assert expansion.rich == expansion.prompt == prompt
    assert reason in expansion.how
    assert not {"red", "square", "dog", "rainbow"} & set(expansion.how.split())


@given(words=st.lists(st.sampled_from(WORDS), max_size=14), seed=SEEDS)
@settings(max_examples=examples(400), deadline=None)
def test_no_order_of_known_words_loses_a_claim(words: list[str], seed: int) -> None:
    prompt = " ".join(words)
    expansion = expand(prompt, seed)
    if expansion.how == COMPLETED:
        assert stated(parse_caption(prompt)) <= stated(parse_caption(expansion.rich))
    else:
        assert expansion.rich == prompt


@given(prompt=st.text(st.characters(codec=None, exclude_categories=()), max_size=200), seed=SEEDS)
def test_any_text_is_answered_and_nothing_of_it_is_in_the_reason(prompt: str, seed: int) -> None:
    expansion = expand(f"secret {prompt} red square moves", seed)
    assert expansion.rich == expansion.prompt
    assert "secret" not in expansion.how


def test_the_longest_expansions_fit_the_encoder() -> None:
    tokenizer = Tokenizer.from_file(str(bundled_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    longest = ObjectFacts("magenta", "triangle", "medium", Motion.PAINT, list(DIAGONALS)[-1], list(SPEEDS)[1])
    shot = ShotFacts((replace(longest, trail="magenta"),) * 3, list(BACKGROUNDS)[1], "right", list(SPEEDS)[1])
    for shots in ((shot,), (replace(shot, objects=shot.objects[:2]),) * 2):
        prompt = rich_caption(Facts(None, shots))
        assert expand(prompt, 0).rich == prompt
        assert len(tokenizer.encode(prompt).tokens) <= MAX_TOKENS

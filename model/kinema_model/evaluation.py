"""How often a model draws what a prompt asks for, read from the pixels, beside what chance would score."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from kinema_model.pipeline import DEFAULT_GUIDANCE, Pipeline
from kinema_model.reader import parse
from kinema_model.world import COLOURS, DIRECTIONS, SHAPES, Attributes, World, prompts

ATTRIBUTES: Final = ("colour", "shape", "direction")
_CHOICES: Final = {"colour": len(COLOURS), "shape": len(SHAPES), "direction": len(DIRECTIONS)}
EVALUATION_STEPS: Final = 16
# Evaluation seeds start here, far from the small numbers that people type.
_FIRST_SEED: Final = 1_000_000_000
_BATCH: Final = 32


class AttributeScore(BaseModel):
    """Plain counts for one attribute; an unreadable clip is a wrong one."""

    model_config = ConfigDict(frozen=True)

    correct: int
    unreadable: int
    total: int
    accuracy: float
    chance: float
    parser_correct: int
    parser_total: int
    parser_accuracy: float


class Report(BaseModel):
    """Scores by attribute, and how many clips had all three right; what `report.json` holds."""

    model_config = ConfigDict(frozen=True)

    count: int
    seed: int
    steps: int
    guidance_scale: float
    attributes: dict[str, AttributeScore]
    all_correct: int


def evaluate_attributes(
    pipeline: Pipeline,
    count: int = 128,
    seed: int = 0,
    *,
    steps: int = EVALUATION_STEPS,
    guidance_scale: float = DEFAULT_GUIDANCE,
) -> Report:
    """Draw `count` prompts with unused seeds and read the clips back; `seed` sets prompts and seeds."""
    wanted = prompts(count, seed)
    read: list[Attributes | None] = []
    for first in range(0, count, _BATCH):
        part = wanted[first : first + _BATCH]
        seeds = [_FIRST_SEED + seed * count + first + i for i in range(len(part))]
        clips = pipeline.generate_batch(
            [prompt for prompt, _ in part], seeds, steps=steps, guidance_scale=guidance_scale
        )
        read.extend(parse(clip) for clip in clips)
    asked = [attributes for _, attributes in wanted]
    truth, reread = _true_clips(pipeline, count, seed)
    return Report(
        count=count,
        seed=seed,
        steps=steps,
        guidance_scale=guidance_scale,
        attributes={name: _score(name, asked, read, truth, reread) for name in ATTRIBUTES},
        all_correct=sum(a == b for a, b in zip(asked, read, strict=True)),
    )


def _true_clips(pipeline: Pipeline, count: int, seed: int) -> tuple[list[Attributes], list[Attributes | None]]:
    """Attributes of true clips of the model's shape, and what the parser makes of them."""
    config = pipeline.config
    world = World.fixed(seed, config.frames, config.height, config.width_px, config.fps)
    clips = [world.sample(index) for index in range(count)]
    return [clip.scene.attributes for clip in clips], [parse(clip.video) for clip in clips]


def _score(
    name: str,
    asked: list[Attributes],
    read: list[Attributes | None],
    truth: list[Attributes],
    reread: list[Attributes | None],
) -> AttributeScore:
    answers = [getattr(r, name, None) for r in read]
    correct = sum(getattr(a, name) == answer for a, answer in zip(asked, answers, strict=True))
    parser_correct = sum(getattr(a, name) == getattr(r, name, None) for a, r in zip(truth, reread, strict=True))
    return AttributeScore(
        correct=correct,
        unreadable=answers.count(None),
        total=len(asked),
        accuracy=correct / len(asked),
        chance=1 / _CHOICES[name],
        parser_correct=parser_correct,
        parser_total=len(truth),
        parser_accuracy=parser_correct / len(truth),
    )

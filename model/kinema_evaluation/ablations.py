"""What a choice brings: the same scenes and seeds under several captions, sizes or models, side by side.

The claims of the Sora report as measures: detailed captions are followed better, one model draws at any aspect, more
compute helps at equal seeds, and training on native aspects frames objects better than on square crops. Differences
are paired: each clip is held against the clip of the same scene and seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from typing import Final

from kinema_evaluation.bootstrap import difference, mean
from kinema_evaluation.captions import EVERYTHING, marks, read_all
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Section
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.errors import ShapeError
from kinema_world import ClipShape, Scene, SceneKind, Video, WorldConfig
from kinema_world.reader import read

IN_FRAME: Final = "objects wholly in frame"
SHORT: Final = "short captions"
RICH: Final = "rich captions"
THIS: Final = "this model"
_ASPECTS: Final = (9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9)
_SHOWN: Final = 3
_OTHERS: Final = 16
_WHOLE: Final = 1 - 1e-9
_MEANING: Final = {
    EVERYTHING: "clips in which all that the short caption says is so",
    IN_FRAME: "objects that are wholly seen in every frame, as all of them are in true clips of these scenes",
}
_TOLD: Final = (
    "What captions the training told is in the model's card: one that heard short captions alone is not expected to "
    "follow rich ones."
)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Clips of one setting, by scene: whether all is right, and the share of objects in frame where all should be."""

    name: str
    scenes: Sequence[Scene]
    clips: Sequence[Video]

    @cached_property
    def figures(self) -> dict[str, dict[int, float]]:
        """Each figure by the number of its scene."""
        right = [_right(scene, clip) for scene, clip in zip(self.scenes, self.clips, strict=True)]
        framed = {
            place: whole(self.clips[place], scene.shape.fps) or 0.0
            for place, scene in enumerate(self.scenes)
            if _always_seen(scene)
        }
        return {EVERYTHING: dict(enumerate(right)), IN_FRAME: framed}


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` where the model makes no clips from words, or its clip shows no scene of its world."""
    if not examination.can(Task.TEXT):
        raise SkippedSection("The model was not trained to make clips from words alone.")
    kinds = examination.kinds()
    if not kinds:
        raise SkippedSection("The model's own clip is too short or too small for every kind of scene of its world.")
    own = examination.shape
    scenes = _scenes(examination, kinds, own)
    short = _Drawn(SHORT, scenes, _asked(examination, scenes, [scene.shape for scene in scenes]))
    rich = [scene.captions.rich for scene in scenes]
    detailed = _Drawn(RICH, scenes, examination.draw(rich, [scene.shape for scene in scenes]))
    rows = [*_rows(short), *_rows(detailed), *_differences(detailed, short)]
    sheets = [*_sheets((short, detailed))]
    remarks = [_TOLD]
    sizes = sizes_of(examination.world, examination.model.config)
    for part in (_aspects(examination, kinds, sizes, short), _beside(examination, kinds, sizes)):
        rows += part.rows
        sheets += part.sheets
        remarks += part.remarks
    return Section(
        title="Choices",
        question="What do captions, aspects and other models change, with equal scenes and seeds?",
        rows=tuple(rows),
        remarks=tuple(remarks),
        sheets=tuple(sheets),
    )


@dataclass(frozen=True)
class _Part:
    """What one comparison adds to the section."""

    rows: Sequence[Row] = ()
    sheets: Sequence[ContactSheet] = ()
    remarks: Sequence[str] = ()


def _aspects(
    examination: EvaluationContext, kinds: Sequence[SceneKind], sizes: Sequence[tuple[int, int]], short: _Drawn
) -> _Part:
    """The prompts and seeds of short captions at every other aspect of the model's world."""
    own = examination.shape
    others = [size for size in sizes if size != (own.height, own.width)]
    if not others:
        return _Part(remarks=["The model's world has one size, so no other aspect was asked for."])
    scenes = short.scenes[: examination.plan.completions]
    drawn = [_Drawn(_size_name(own), scenes, short.clips[: len(scenes)])]
    rows = _rows(drawn[0])
    for height, width in others:
        shape = replace(own, height=height, width=width)
        # What can be told at this size is told by true clips of this size.
        truth = _scenes(examination, kinds, shape)[: len(scenes)]
        resized = _Drawn(
            _size_name(shape),
            scenes,
            _asked(examination, scenes, [replace(s.shape, height=height, width=width) for s in scenes]),
        )
        rows += [*_rows(resized, truth), *_differences(resized, drawn[0])]
        drawn.append(resized)
    return _Part(rows, list(_sheets(drawn)))


def _beside(examination: EvaluationContext, kinds: Sequence[SceneKind], sizes: Sequence[tuple[int, int]]) -> _Part:
    """Other models on the same scenes and seeds, in all aspects of this model's world by turns."""
    if not examination.beside:
        return _Part()
    own = examination.shape
    scenes: list[Scene] = []
    each = -(-examination.plan.clips // len(sizes))
    for height, width in sizes:
        scenes += _scenes(examination, kinds, replace(own, height=height, width=width))[:each]
    shapes = [scene.shape for scene in scenes]
    mine = _Drawn(THIS, scenes, _asked(examination, scenes, shapes))
    rows, drawn, remarks = _rows(mine), [mine], []
    for label, model in examination.beside.items():
        try:
            other = _Drawn(label, scenes, _asked(replace(examination, model=model), scenes, shapes))
        except ShapeError as error:
            remarks.append(f"{label} was not compared: {error}")
            continue
        rows += [*_rows(other), *_differences(other, mine)]
        drawn.append(other)
    return _Part(rows, list(_sheets(drawn)), remarks)


def sizes_of(world: WorldConfig, config: ModelConfig) -> list[tuple[int, int]]:
    """Up to six (height, width) of a world that a model draws: its own, and those nearest to 9:16 up to 16:9."""
    area = config.height * config.width_px
    _, rows, columns = config.grid.cell
    fitting = [
        (h, w) for h, w in world.shapes.sizes if h % rows == 0 and w % columns == 0 and max(h, w) <= config.max_side
    ]
    sizes = [(config.height, config.width_px)]
    for aspect in _ASPECTS if fitting else ():
        nearest = min(fitting, key=lambda s: (round(abs(log(s[1] / s[0] / aspect)), 6), abs(log(s[0] * s[1] / area))))
        if all(abs(log(nearest[1] / nearest[0] * h / w)) > 1e-6 for h, w in sizes):
            sizes.append(nearest)
    return sizes


def whole(clip: Video, fps: float) -> float | None:
    """Share of the objects of a clip (T, H, W, 3) that are wholly seen in every frame, None where there is none."""
    things = [thing for shot in read(clip, fps).shots for thing in shot.objects]
    if not things:
        return None
    return sum(all(centre is not None for centre in thing.centres) for thing in things) / len(things)


def _scenes(examination: EvaluationContext, kinds: Sequence[SceneKind], shape: ClipShape) -> list[Scene]:
    """Scenes of the model's world in one shape; equal ones of simple scenes whatever the shape."""
    return examination.scenes(examination.world_of(kinds, examination.world.split, shape=shape), examination.plan.clips)


def _asked(examination: EvaluationContext, scenes: Sequence[Scene], shapes: Sequence[ClipShape]) -> list[Video]:
    return examination.draw([scene.captions.short for scene in scenes], shapes)


def _size_name(shape: ClipShape) -> str:
    return f"{shape.width} x {shape.height} px"


def _right(scene: Scene, clip: Video) -> float:
    (found,) = read_all([clip], [scene])
    return next(mark.right for mark in marks(scene.facts.brief(), found) if mark.name == EVERYTHING)


def _chance(scenes: Sequence[Scene]) -> float:
    """How often what one caption says is so in a true clip of another."""
    shares = []
    for place, scene in enumerate(scenes):
        for step in range(1, min(len(scenes) - 1, _OTHERS) + 1):
            other = scenes[(place + step) % len(scenes)]
            found = marks(scene.facts.brief(), other.facts.brief())
            shares += [mark.right for mark in found if mark.name == EVERYTHING]
    return sum(shares) / len(shares) if shares else 0.0


def _rows(drawn: _Drawn, true_scenes: Sequence[Scene] | None = None) -> list[Row]:
    """The figures of one setting, beside true clips of its scenes or of others."""
    reference = drawn.scenes if true_scenes is None else true_scenes
    truth = _Drawn(drawn.name, reference, true_clips(reference)).figures
    chances = {EVERYTHING: _chance(drawn.scenes), IN_FRAME: None}
    rows = []
    for name, values in drawn.figures.items():
        score = mean(list(values.values()))
        if score is not None:
            floor = mean(list(truth[name].values()))
            meaning = _MEANING[name]
            rows.append(
                Row(name=name, group=drawn.name, meaning=meaning, score=score, floor=floor, chance=chances[name])
            )
    return rows


def _differences(drawn: _Drawn, reference: _Drawn) -> Iterator[Row]:
    """How much more is right than under the reference, clip by clip."""
    against = reference.figures
    for name, values in drawn.figures.items():
        score = difference([value - against[name][place] for place, value in values.items()])
        if score is not None:
            yield Row(
                name=f"{name}: more than {reference.name}",
                group=drawn.name,
                meaning=f"the share here less that of {reference.name}, on the same scenes and seeds",
                score=score,
                chance=0.0,
                unit="difference",
            )


def _sheets(drawn: Sequence[_Drawn]) -> Iterator[ContactSheet]:
    """Each scene with the clips of all settings side by side."""
    for place, scene in enumerate(drawn[0].scenes[:_SHOWN]):
        shown = tuple(ReportClip(one.name, one.clips[place], one.figures[EVERYTHING][place] == 1.0) for one in drawn)
        yield ContactSheet(f"Side by side: {scene.captions.short}", shown)


def _always_seen(scene: Scene) -> bool:
    return all((track.visible > _WHOLE).all() for track in scene.tracks)

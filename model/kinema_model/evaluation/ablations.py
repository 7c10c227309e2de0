"""What a choice brings: the same scenes and seeds under several models or settings, side by side.

The claims of Sora's report as measures: training on native aspects frames objects better than square crops, detailed
captions are followed better, more compute helps at equal seeds, and one model draws at any aspect.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from kinema_model.errors import ConfigError
from kinema_model.evaluation.bootstrap import mean
from kinema_model.evaluation.captions import EVERYTHING, marks, read_all
from kinema_model.evaluation.plan import Examination, Plan, Renderer, true_clips
from kinema_model.evaluation.report import Row, Section, Sheet, Shown
from kinema_model.reader import read
from kinema_model.world import ClipShape, Scene, Video

IN_FRAME: Final = "objects wholly in frame"
_SHOWN: Final = 4
_WHOLE: Final = 1 - 1e-9
_MEANING: Final = {
    EVERYTHING: "clips in which all that the caption says is so",
    IN_FRAME: "objects that are wholly seen in every frame, as all of them are in true clips of these scenes",
}


def compare(models: Mapping[str, Renderer], plan: Plan) -> Section:
    """Several models on the same captions and seeds, such as checkpoints at 1, 4 and 32 times the compute, or one that
    was trained on native aspects and one on square crops.

    Raises:
        ConfigError: no model was given, or none of their worlds' kinds fits the first model's clip.
    """
    examinations = {name: Examination(model, plan, _silent, "captions") for name, model in models.items()}
    scenes = _scenes(next(iter(examinations.values()), None))
    return _section(
        "Models side by side",
        "What changes from one model to the next, with equal captions and seeds?",
        {
            name: (scenes, examination.draw([s.captions.short for s in scenes], [s.shape for s in scenes]))
            for name, examination in examinations.items()
        },
    )


def rich_against_short(model: Renderer, plan: Plan) -> Section:
    """The same scenes asked for in short and in rich captions, marked by what both say. Raises `ConfigError`."""
    examination = Examination(model, plan, _silent, "captions")
    scenes = _scenes(examination)
    shapes = [scene.shape for scene in scenes]
    asked = {"short": [s.captions.short for s in scenes], "rich": [s.captions.rich for s in scenes]}
    return _section(
        "Rich against short captions",
        "Does the model follow a detailed caption better than a short one?",
        {name: (scenes, examination.draw(prompts, shapes)) for name, prompts in asked.items()},
    )


def aspects(model: Renderer, plan: Plan, sizes: Sequence[tuple[int, int]]) -> Section:
    """The same indices and seeds at several sizes (height, width) in pixels. Raises `ConfigError`."""
    examination = Examination(model, plan, _silent, "captions")
    drawn: dict[str, tuple[list[Scene], list[Video]]] = {}
    for height, width in sizes:
        own = examination.shape
        shape = ClipShape(own.frames, height, width, own.fps)
        scenes = examination.scenes(examination.world_of(examination.kinds(), shape=shape), plan.clips)
        clips = examination.draw([scene.captions.short for scene in scenes], [scene.shape for scene in scenes])
        drawn[f"{width} x {height}"] = (scenes, clips)
    return _section("One model at several aspects", "Does the model draw as well at other aspects?", drawn)


def whole(clip: Video, fps: float) -> float | None:
    """Share of the objects of a clip that are wholly seen in every frame, None where there is no object."""
    things = [thing for shot in read(clip, fps).shots for thing in shot.objects]
    if not things:
        return None
    return sum(all(centre is not None for centre in thing.centres) for thing in things) / len(things)


def _scenes(examination: Examination | None) -> list[Scene]:
    """Scenes of the model's world in its own clip."""
    if examination is None:
        raise ConfigError("There is no model to compare. Give one or more.")
    kinds = examination.kinds()
    if not kinds:
        raise ConfigError(
            "The model's own clip shows no scene of its world. Give a world with shorter or smaller ones."
        )
    world = examination.world_of(kinds, examination.world.split)
    return examination.scenes(world, examination.plan.clips)


def _section(title: str, question: str, drawn: Mapping[str, tuple[Sequence[Scene], Sequence[Video]]]) -> Section:
    rows: list[Row] = []
    sheets: list[Sheet] = []
    for name, (scenes, clips) in drawn.items():
        right, floor = (_right(scenes, of) for of in (clips, true_clips(scenes)))
        rows += _rows(name, EVERYTHING, right, floor)
        seen = [place for place, scene in enumerate(scenes) if _always_seen(scene)]
        framed, true = (
            [whole(of[place], scenes[place].shape.fps) or 0.0 for place in seen] for of in (clips, true_clips(scenes))
        )
        rows += _rows(name, IN_FRAME, framed, true)
        shown = [
            Shown(scene.captions.short, clip, good == 1.0)
            for scene, clip, good in list(zip(scenes, clips, right, strict=True))[:_SHOWN]
        ]
        sheets.append(Sheet(name, tuple(shown)))
    return Section(title=title, question=question, rows=tuple(rows), sheets=tuple(sheets))


def _right(scenes: Sequence[Scene], clips: Sequence[Video]) -> list[float]:
    marked = [marks(s.facts.brief(), found) for s, found in zip(scenes, read_all(clips, scenes), strict=True)]
    return [mark.right for clip in marked for mark in clip if mark.name == EVERYTHING]


def _rows(group: str, name: str, values: Sequence[float], truth: Sequence[float]) -> list[Row]:
    score = mean(values)
    if score is None:
        return []
    return [Row(name=name, group=group, meaning=_MEANING[name], score=score, floor=mean(truth))]


def _always_seen(scene: Scene) -> bool:
    return all((track.visible > _WHOLE).all() for track in scene.tracks)


def _silent(section: str, done: int, total: int) -> None:
    """Side by side, no progress is told."""

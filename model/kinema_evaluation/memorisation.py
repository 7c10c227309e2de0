"""Whether a model copies clips of its training: is the nearest true clip one of them more often than others.

For each clip of the model, the distance to the nearest training clip over that to the nearest of as many clips of the
same world that it never saw. Around 1 for a model that draws the world, towards 0 for one that repeats its training.
"""

from typing import Final

from kinema_evaluation.bootstrap import median
from kinema_evaluation.distances import nearest
from kinema_evaluation.distribution import asked_scenes, drawn, net_of
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import Row, Score, Section
from kinema_model.conditions.tasks import Task
from kinema_world import Scene, Video, World

RATIO: Final = "nearest training / nearest unseen"
REPEATS: Final = "repeats its training"
_PER_CLIP: Final = 8
_UNSEEN: Final = 16
BAR: Final = 0.8
# A repeated clip is at distance 0; the ratio of two such distances must stay finite.
LEAST: Final = 1e-6


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` where the training's clips are not known or none is of the model's own shape."""
    if examination.plan.world is None:
        raise SkippedSection("The model does not tell which clips it was trained on.")
    if not examination.can(Task.TEXT):
        raise SkippedSection("The model was not trained to make clips from words alone.")
    net = net_of(examination)
    shown = _of_one_shape(examination, World(examination.world))
    if not shown:
        raise SkippedSection("None of the first training clips is of the model's own shape.")
    # Neither the scenes that the model is asked for nor the fresh ones.
    seed = examination.world_of(examination.kinds()).config.seed + _UNSEEN
    unseen = World(examination.world.model_copy(update={"seed": seed}))
    trained = net.features(shown)
    others = net.features(_of_one_shape(examination, unseen)[: len(shown)])
    scenes = asked_scenes(examination)
    trained = trained[: len(others)]

    def ratios(clips: list[Video]) -> list[float]:
        features = net.features(clips)
        pairs = zip(nearest(features, trained), nearest(features, others), strict=True)
        return [float((near + LEAST) / (far + LEAST)) for near, far in pairs]

    score, floor = median(ratios(drawn(examination, scenes))), median(ratios(_fresh(examination, len(scenes))))
    return _section(score, floor, median(ratios(shown[: len(scenes)])), len(trained))


def _section(score: Score | None, floor: Score | None, repeats: Score | None, compared: int) -> Section:
    assert score is not None
    assert repeats is not None
    row = Row(
        name=RATIO,
        meaning="median ratio of distances; 1 where the training's clips are no nearer than others",
        score=score,
        floor=floor,
        controls={REPEATS: repeats},
        bar=BAR,
        unit="ratio",
    )
    remark = (
        f"Compared with the first {compared} clips of the training and as many that were not in it. A model that "
        "repeats only later clips would not be found out."
    )
    return Section(
        title="Memorisation", question="Does the model repeat clips of its training?", rows=(row,), remarks=(remark,)
    )


def _of_one_shape(examination: EvaluationContext, world: World) -> list[Video]:
    """The first clips of a world, as far as they have the model's own shape."""
    count = _PER_CLIP * examination.plan.clips
    scenes: list[Scene] = examination.scenes(world, count, lambda scene: scene.shape == examination.shape)
    return true_clips(scenes)


def _fresh(examination: EvaluationContext, count: int) -> list[Video]:
    """True clips that are neither in the training nor among those compared with."""
    world = examination.world_of(examination.kinds(), examination.world.split)
    other = World(world.config.model_copy(update={"seed": world.config.seed + 32}))
    return true_clips(examination.scenes(other, count))

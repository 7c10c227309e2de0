"""Do the model's clips look like the world's as a whole: distances of two sets, and whether those can be trusted.

A distance is only worth something if it grows when clips get worse, so the same page shows it for true clips that were
shuffled, frozen and blurred more and more. It is not the FVD of the literature, which uses another network.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import distance
from kinema_evaluation.distances import Floats, frechet, median_distance, mmd
from kinema_evaluation.features import LEAST_R2, FeatureNet, feature_net
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import Curve, Row, Score, Section
from kinema_model.conditions.tasks import Task
from kinema_model.rng import RngStream, generator
from kinema_world import Scene, Video, World
from kinema_world.vocabulary import FloatArray

FRECHET: Final = "Fréchet distance"
MMD: Final = "MMD"
_AMOUNTS: Final = (0.0, 0.25, 0.5, 1.0)
# Passes of a (1, 2, 1) / 4 blur at the full amount.
_MOST_BLUR: Final = 12

Damage = Callable[[Video, float, int], Video]


def shuffled(clip: Video, amount: float, seed: int) -> Video:
    """`amount` in [0, 1] of the frames of a clip (T, H, W, 3) change places."""
    draw = generator(RngStream.EVALUATION, 1, seed)
    chosen = draw.permutation(len(clip))[: round(amount * len(clip))]
    order = np.arange(len(clip))
    order[np.sort(chosen)] = chosen
    return clip[order]


def frozen(clip: Video, amount: float, seed: int) -> Video:
    """The last `amount` in [0, 1] of a clip (T, H, W, 3) stands still."""
    last = round((1 - amount) * (len(clip) - 1))
    return clip[np.minimum(np.arange(len(clip)), last)]


def blurred(clip: Video, amount: float, seed: int) -> Video:
    """A clip (T, H, W, 3) smoothed by binomial filters along rows and columns, `amount` in [0, 1] of the most."""
    soft: FloatArray = clip.astype(np.float32)
    for _ in range(round(amount * _MOST_BLUR)):
        for axis in (1, 2):
            padded = np.pad(soft, [(1, 1) if one == axis else (0, 0) for one in range(4)], mode="edge")
            ends = [np.take(padded, range(start, start + soft.shape[axis]), axis=axis) for start in (0, 2)]
            soft = np.asarray((ends[0] + 2 * soft + ends[1]) / 4, dtype=np.float32)
    return np.asarray(soft.round(), dtype=np.uint8)


DAMAGES: Final[dict[str, Damage]] = {"shuffle": shuffled, "freeze": frozen, "blur": blurred}


def net_of(examination: EvaluationContext) -> FeatureNet:
    """The feature network of the model's world and shape.

    Raises:
        SkippedSection: it explains too little of the state for its distances to mean anything.
    """
    kinds = examination.kinds()
    if not kinds:
        raise SkippedSection("The model's own clip is too short or too small for every kind of scene of its world.")

    def tell(done: int, total: int) -> None:
        examination.on_progress(f"{examination.section}: feature network", done, total)

    world = examination.world_of(kinds).config.model_copy(update={"seed": 0})
    net = feature_net(world, examination.plan.cache, tell)
    if net.r2 < LEAST_R2:
        raise SkippedSection(
            f"The feature network explains {net.r2:.2f} of the state of clips it never saw, less than {LEAST_R2}: "
            "distances in its features would say too little."
        )
    return net


def asked_scenes(examination: EvaluationContext) -> list[Scene]:
    """Scenes like those of training, whose captions the model draws."""
    return examination.scenes(
        examination.world_of(examination.kinds(), examination.world.split), examination.plan.clips
    )


def drawn(examination: EvaluationContext, scenes: Sequence[Scene]) -> list[Video]:
    """The model's clips (T, H, W, 3) by the captions of scenes.

    Raises `SkippedSection` where it does not make clips from words.
    """
    if not examination.can(Task.TEXT):
        raise SkippedSection("The model was not trained to make clips from words alone.")
    return examination.draw([scene.captions.short for scene in scenes], [scene.shape for scene in scenes])


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` if the model makes no clips from text, or no reliable feature network was found."""
    if not examination.can(Task.TEXT):
        raise SkippedSection("The model was not trained to make clips from words alone.")
    net = net_of(examination)
    scenes = asked_scenes(examination)
    others = _others(examination, len(scenes))
    made, true, more = (net.features(clips) for clips in (drawn(examination, scenes), true_clips(scenes), others))
    width = median_distance(true)
    rows = (
        _row(FRECHET, *(distance(of, more, frechet, 0.0) for of in (made, true))),
        _row(MMD, *(distance(of, more, partial(mmd, width=width)) for of in (made, true))),
    )
    curves = tuple(curve for name in DAMAGES for curve in _sanity(name, net, true_clips(scenes), more, width))
    return Section(
        title="Distribution",
        question="As a whole, do the model's clips look like the world's?",
        rows=rows,
        curves=curves,
        remarks=tuple(_remarks(net, curves, len(scenes))),
    )


def _others(examination: EvaluationContext, count: int) -> list[Video]:
    """True clips of other scenes of the same world."""
    world = examination.world_of(examination.kinds(), examination.world.split)
    other = World(world.config.model_copy(update={"seed": world.config.seed + 32}))
    return true_clips(examination.scenes(other, count))


def _row(name: str, made: Score, true: Score) -> Row:
    meaning = {
        FRECHET: "distance of two normal distributions fitted to features of the model's and of true clips",
        MMD: "squared distance of both distributions without assuming a form; around 0 if they are the same",
    }[name]
    return Row(
        name=name,
        meaning=meaning,
        score=made,
        floor=true,
        better="lower",
        unit="distance",
    )


def _sanity(name: str, net: FeatureNet, clips: Sequence[Video], more: Floats, width: float) -> list[Curve]:
    """Both distances of true clips after more and more damage of one kind."""
    damaged = [
        net.features([DAMAGES[name](clip, amount, number) for number, clip in enumerate(clips)]) for amount in _AMOUNTS
    ]
    return [
        Curve(name=FRECHET, across=name, x=_AMOUNTS, y=tuple(frechet(of, more) for of in damaged)),
        Curve(name=MMD, across=name, x=_AMOUNTS, y=tuple(mmd(of, more, width) for of in damaged)),
    ]


def _remarks(net: FeatureNet, curves: Sequence[Curve], clips: int) -> list[str]:
    remarks = [
        f"The features are those of a network that explains {net.r2:.3f} of the state of clips it never saw "
        f"(network {net.digest}). The figures compare with no other network's, and not with other numbers of clips: "
        f"{clips} here."
    ]
    flat = [f"{curve.name} under {curve.across}" for curve in curves if curve.y[-1] <= curve.y[0]]
    if flat:
        remarks.append(f"Not to be trusted: {', '.join(flat)} did not grow, though the clips got worse.")
    return remarks

"""One verdict for every task that a model was trained for, each by what that task promises.

What is given decides what must follow: the object of a picture, the velocity of the frames before a seam, the motion of
a clip that is edited. What is given must come out bit for bit, which pasting ensures and no model can miss.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from kinema_evaluation import staged
from kinema_evaluation.bench import (
    GIVEN,
    GOES_ON,
    MOVES,
    SEAM,
    Bench,
    Found,
    has_appearance,
    has_colour,
    jump_rows,
    share_row,
    step_of,
)
from kinema_evaluation.captions import EVERYTHING, marks, read_all
from kinema_evaluation.motion import given_frames
from kinema_evaluation.plan import SEEN, EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import LEAST_LEAD, ContactSheet, Row, Section
from kinema_evaluation.tracking import Floats, velocity, visible_centres
from kinema_model.codec.codec import pixels
from kinema_model.conditions.task_inputs import inputs_for
from kinema_model.conditions.tasks import Task
from kinema_world import Scene, SceneKind, Video, World

__all__ = [
    "CHANGED",
    "COLOUR_KEPT",
    "GIVEN",
    "GOES_ON",
    "INSIDE",
    "KEPT",
    "MOVES",
    "OUTSIDE",
    "SEAM",
    "SMOOTH",
    "examine",
]

OUTSIDE: Final = "outside"
INSIDE: Final = "inside"
KEPT: Final = "object kept"
COLOUR_KEPT: Final = "colour kept"
CHANGED: Final = "changed as asked"
SMOOTH: Final = "smooth"
# Of the change of a cross-fade.
_MOST_CHANGE: Final = 2.0
_LEAST_CHANGE: Final = 0.02
_MOTION: Final = 0.2
_LEAST_OUTSIDE: Final = 0.05
# Below this many pixels per frame, what the reader is off by is as large as a step.
_LEAST_STEP: Final = 0.4
# Kinds whose first object has a smooth trajectory, the simplest first.
_PLAIN: Final = (SceneKind.SIMPLE, SceneKind.SEVERAL, SceneKind.BOUNCE)
_LEAST_FRAMES: Final = 5
_OTHER_SEED: Final = 32


def _text(bench: Bench) -> Found:
    return _from_words(bench, Task.TEXT, bench.scenes, bench.truth)


def _picture(bench: Bench) -> Found:
    scenes = bench.examination.groups([SceneKind.IMAGE], bench.examination.plan.completions)[SEEN]
    return _from_words(bench, Task.PICTURE, scenes, true_clips(scenes))


def _from_words(bench: Bench, task: Task, scenes: Sequence[Scene], truth: Sequence[Video]) -> Found:
    clips = bench.examination.draw([s.captions.short for s in scenes], [s.shape for s in scenes])

    def right(of: Sequence[Video]) -> list[float]:
        every = [marks(s.facts.brief(), found) for s, found in zip(scenes, read_all(of, scenes), strict=True)]
        return [mark.right for clip in every for mark in clip if mark.name == EVERYTHING]

    what = "pictures" if task is Task.PICTURE else "clips"
    meaning = f"{what} from words alone in which all that the caption says is so"
    # A model that ignores its prompt draws what another one asks for.
    verdicts = (right(clips), right(truth), right([*truth[1:], truth[0]]))
    return [share_row(EVERYTHING, task, meaning, verdicts)], bench.sheet(task, clips, scenes)


def _image(bench: Bench) -> Found:
    inputs = [inputs_for(Task.IMAGE, bench.frames, pixels(clip[:1])) for clip in bench.truth]
    clips, ignoring = bench.ask(Task.IMAGE, inputs), bench.ignoring(inputs)
    meaning = "the object of the picture has its colour and shape in what follows the picture"
    rows = [
        *_kept_rows(bench, Task.IMAGE, meaning, (clips, ignoring), 1),
        bench.moves_row(Task.IMAGE, clips, ignoring, "the object moves: a still picture is no clip"),
        bench.given_row(Task.IMAGE, clips, ignoring, [0]),
    ]
    return rows, bench.sheet(Task.IMAGE, clips)


def _kept_rows(
    bench: Bench, task: Task, meaning: str, clips: tuple[Sequence[Video], Sequence[Video]], first: int
) -> list[Row]:
    """Whether the first object of the scene is there from frame `first` on, in the model's clips and in the control."""

    def kept(of: Sequence[Video], has: Callable[[Video, Scene], float]) -> list[float]:
        return [has(clip[first:], scene) for scene, clip in zip(bench.scenes, of, strict=True)]

    colour = "an object of its colour is there: what is kept first"
    pairs = ((COLOUR_KEPT, colour, has_colour), (KEPT, meaning, has_appearance))
    return [
        share_row(name, task, told, (kept(clips[0], has), kept(bench.truth, has), kept(clips[1], has)))
        for name, told, has in pairs
    ]


def _extend(bench: Bench) -> Found:
    count = given_frames(bench.frames)
    inputs = [inputs_for(Task.EXTEND, bench.frames, pixels(clip[:count])) for clip in bench.truth]
    clips, ignoring = bench.ask(Task.EXTEND, inputs), bench.ignoring(inputs)
    rows = bench.seam_rows(Task.EXTEND, clips, ignoring, [count])
    rows.append(bench.given_row(Task.EXTEND, clips, ignoring, range(count)))
    return rows, bench.sheet(Task.EXTEND, clips)


def _extend_back(bench: Bench) -> Found:
    first = bench.frames - given_frames(bench.frames)
    inputs = [inputs_for(Task.EXTEND_BACK, bench.frames, pixels(clip[first:])) for clip in bench.truth]
    clips, ignoring = bench.ask(Task.EXTEND_BACK, inputs), bench.ignoring(inputs)
    rows = bench.seam_rows(Task.EXTEND_BACK, clips, ignoring, [first])
    rows.append(bench.given_row(Task.EXTEND_BACK, clips, ignoring, range(first, bench.frames)))
    return rows, bench.sheet(Task.EXTEND_BACK, clips)


def _fill(bench: Bench) -> Found:
    last = bench.frames - 1
    inputs = [inputs_for(Task.FILL, bench.frames, pixels(clip[:1]), pixels(clip[-1:])) for clip in bench.truth]
    clips, ignoring = bench.ask(Task.FILL, inputs), bench.ignoring(inputs)
    rows = bench.seam_rows(Task.FILL, clips, ignoring, [1, last])
    rows.append(bench.given_row(Task.FILL, clips, ignoring, [0, last]))
    return rows, bench.sheet(Task.FILL, clips)


def _loop(bench: Bench) -> Found:
    inputs = [inputs_for(Task.LOOP, bench.frames, pixels(clip[:1])) for clip in bench.truth]
    clips, ignoring = bench.ask(Task.LOOP, inputs), bench.ignoring(inputs)
    there_and_back = [clip[[min(at, bench.frames - at) for at in range(bench.frames)]] for clip in bench.truth]
    rows = [
        *jump_rows(Task.LOOP, *(_over_the_end(bench, of) for of in (clips, there_and_back, ignoring))),
        bench.moves_row(Task.LOOP, clips, ignoring, "the object moves: a still picture has no seam"),
        bench.given_row(Task.LOOP, clips, ignoring, [0]),
    ]
    return rows, bench.sheet(Task.LOOP, clips)


def _over_the_end(bench: Bench, clips: Sequence[Video]) -> list[float | None]:
    """By how much the step from the last frame to the first is longer than a true step, as a share of that.

    An object may turn where a loop closes, as those of training do, but must not be elsewhere.
    """
    found: list[float | None] = []
    for scene, centres in zip(bench.scenes, bench.centres(clips), strict=True):
        way, step = float(np.linalg.norm(centres[0] - centres[-1])), step_of(scene)
        found.append(None if np.isnan(way) else max(0.0, way / step - 1))
    return found


def _inpaint(bench: Bench) -> Found:
    """A hole from the middle of the clip on, which what comes before decides, and a new object by words."""
    count = given_frames(bench.frames)
    masks = [staged.region(scene, scene) for scene in bench.scenes]
    for mask in masks:
        mask[:count] = False
    inputs = [
        inputs_for(Task.INPAINT, bench.frames, pixels(clip), mask=mask)
        for clip, mask in zip(bench.truth, masks, strict=True)
    ]
    clips, ignoring = bench.ask(Task.INPAINT, inputs), bench.ignoring(inputs)
    meaning = "where the clip is made anew from a frame on, the object keeps its colour and shape"
    rows = _kept_rows(bench, Task.INPAINT, meaning, (clips, ignoring), count)
    rows += bench.seam_rows(Task.INPAINT, clips, ignoring, [count])
    asked, new_rows, new = _inside_by_words(bench)
    return [*rows, *new_rows], bench.sheet(Task.INPAINT, new, asked)


def _inside_by_words(bench: Bench) -> tuple[list[Scene], list[Row], list[Video]]:
    """Another object by words in the region of the first one: the prompt decides what, and the mask where."""
    asked = [staged.with_new_appearance(scene, shape_too=True) for scene in bench.scenes]
    masks = [staged.region(scene, other) for scene, other in zip(bench.scenes, asked, strict=True)]
    inputs = [
        inputs_for(Task.INPAINT, bench.frames, pixels(clip), mask=mask)
        for clip, mask in zip(bench.truth, masks, strict=True)
    ]
    clips = bench.ask(Task.INPAINT, inputs, [scene.captions.short for scene in asked])
    true = true_clips(asked)
    # Who ignores the prompt leaves what was there; who ignores the source changes what lies outside the mask.
    deaf, blind = bench.ignoring(inputs, bench.truth), bench.ignoring(inputs)
    inside = tuple([has_appearance(c, s) for s, c in zip(asked, of, strict=True)] for of in (clips, true, deaf))
    meaning = "in the region made anew, the object has the colour and shape of the new caption, which a prompt decides"
    rows = [share_row(INSIDE, Task.INPAINT, meaning, (inside[0], inside[1], inside[2]))]
    reach = max(bench.examination.model.config.grid.cell[1:]) // 2
    outside = [staged.far_outside(mask, reach).numpy() for mask in masks]
    if any(there.mean() > _LEAST_OUTSIDE for there in outside):
        same = tuple(_same_outside(of, bench.truth, outside) for of in (clips, bench.truth, blind))
        unchanged = "what lies outside the mask is unchanged, bit for bit"
        rows.append(share_row(OUTSIDE, Task.INPAINT, unchanged, (same[0], same[1], same[2]), bar=1.0))
    return asked, rows, clips


def _same_outside(clips: Sequence[Video], truth: Sequence[Video], outside: Sequence[Floats]) -> list[float]:
    triples = zip(clips, truth, outside, strict=True)
    return [
        float(np.array_equal(clip[there], true[there]))
        for clip, true, there in triples
        if there.mean() > _LEAST_OUTSIDE
    ]


def _edit(bench: Bench) -> Found:
    asked = [staged.with_new_appearance(scene, shape_too=False) for scene in bench.scenes]
    inputs = [inputs_for(Task.EDIT, bench.frames, pixels(clip)) for clip in bench.truth]
    # The prompt names the new object and not its motion, which the source decides.
    prompts = [staged.named(scene) for scene in asked]
    clips = bench.ask(Task.EDIT, inputs, prompts)
    dressed = [staged.with_appearance_of(other, scene) for other, scene in zip(bench.others, asked, strict=True)]
    right, floor, ignoring = (
        [float(_edited(s, c)) for s, c in zip(asked, of, strict=True)]
        for of in (clips, true_clips(asked), true_clips(dressed))
    )
    meaning = "the object has the new colour and still moves as in the source (20 %), which the prompt does not tell"
    return [share_row(CHANGED, Task.EDIT, meaning, (right, floor, ignoring))], bench.sheet(Task.EDIT, clips, asked)


def _edited(asked: Scene, clip: Video) -> bool:
    appearance = asked.shots[0].tracks[0].appearance
    (true,) = true_clips([asked])
    now, meant = (velocity(visible_centres(of, appearance.colour), 0, len(of), asked.shape.fps) for of in (clip, true))
    if now is None or meant is None:
        return False
    return bool(np.linalg.norm(now - meant) <= _MOTION * np.linalg.norm(meant))


def _blend(bench: Bench) -> Found:
    seconds = [*bench.truth[1:], bench.truth[0]]
    pairs = list(zip(bench.truth, seconds, strict=True))
    inputs = [inputs_for(Task.BLEND, bench.frames, pixels(first), pixels(second)) for first, second in pairs]
    clips, ignoring = bench.ask(Task.BLEND, inputs), bench.ignoring(inputs)
    share = np.linspace(0, 1, bench.frames)[:, None, None, None]
    fades = [(1 - share) * first + share * second for first, second in pairs]

    def smooth(of: Sequence[Video | Floats]) -> list[float]:
        bounds = [_MOST_CHANGE * max(_largest_step(fade), _LEAST_CHANGE) for fade in fades]
        return [float(_largest_step(clip) <= bound) for clip, bound in zip(of, bounds, strict=True)]

    def ends(of: Sequence[Video]) -> list[float]:
        return [
            float(np.array_equal(clip[0], first[0]) and np.array_equal(clip[-1], second[-1]))
            for clip, (first, second) in zip(of, pairs, strict=True)
        ]

    meaning = "clips that change at most twice as much from one frame to the next as a cross-fade: a cut is no blend"
    given = "what was given comes out bit for bit"
    rows = [
        share_row(SMOOTH, Task.BLEND, meaning, (smooth(clips), smooth(fades), smooth(ignoring))),
        share_row(GIVEN, Task.BLEND, given, (ends(clips), [1.0] * len(clips), ends(ignoring)), bar=1.0),
    ]
    return rows, bench.sheet(Task.BLEND, clips)


def _largest_step(clip: Video | Floats) -> float:
    return max(float(np.abs(b.astype(float) - a).mean()) for a, b in pairwise(clip))


_JUDGES: Final[dict[Task, Callable[[Bench], Found]]] = {
    Task.TEXT: _text,
    Task.PICTURE: _picture,
    Task.IMAGE: _image,
    Task.EXTEND: _extend,
    Task.EXTEND_BACK: _extend_back,
    Task.FILL: _fill,
    Task.LOOP: _loop,
    Task.INPAINT: _inpaint,
    Task.EDIT: _edit,
    Task.BLEND: _blend,
}


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` where the model's own clip shows no object on a smooth trajectory."""
    kind = next((one for one in _PLAIN if one in examination.kinds()), None)
    if kind is None or examination.shape.frames < _LEAST_FRAMES:
        raise SkippedSection("The model's own clip shows no object on a plain course, by which a task could be judged.")
    bench = _bench(examination, kind)
    rows: list[Row] = []
    sheets: list[ContactSheet] = []
    for task, judge in _JUDGES.items():
        if examination.can(task):
            found, sheet = judge(bench)
            rows += found
            sheets.append(sheet)
    return Section(
        title="Tasks",
        question="Does each task do what it promises?",
        rows=tuple(rows),
        remarks=tuple(_remarks(examination, kind, rows)),
        sheets=tuple(sheets),
    )


def _bench(examination: EvaluationContext, kind: SceneKind) -> Bench:
    """Scenes of a kind whose first object moves fast enough to be followed. Raises `SkippedSection`."""
    split = "train" if examination.world.split == "train" else examination.world.split
    world = examination.world_of([kind], split)
    # Neither the scenes that are asked for nor those of another section.
    further = World(world.config.model_copy(update={"seed": world.config.seed + _OTHER_SEED}))
    count = examination.plan.completions
    scenes, others = (
        examination.scenes(of, count, lambda scene: step_of(scene) >= _LEAST_STEP) for of in (world, further)
    )
    if not scenes or len(others) < len(scenes):
        raise SkippedSection(f"The model's world leaves no scene of the kind {kind.value!r} in the model's own clip.")
    others = others[: len(scenes)]
    return Bench(examination, scenes, true_clips(scenes), others, true_clips(others))


def _remarks(examination: EvaluationContext, kind: SceneKind, rows: Sequence[Row]) -> Iterator[str]:
    missing = [task for task in Task if not examination.can(task)]
    if missing:
        yield f"Not trained, so not asked: {', '.join(missing)}."
    yield (
        f"All tasks are asked about scenes of the kind {kind.value!r}. Prompts of tasks with inputs say nothing, so "
        "the input alone tells what must follow; ignoring it stands for another true clip with the input pasted in."
    )
    led = [row for row in rows if not row.void and row.lead is not None and row.lead < LEAST_LEAD]
    behind = [f"{row.group}: {row.name}" for row in led]
    if behind:
        yield f"Less than {100 * LEAST_LEAD:.0f} points above ignoring the input: {', '.join(behind)}."
    void = [f"{row.group}: {row.name}" for row in rows if row.void]
    if void:
        yield (
            f"Not counted, since ignoring the input scores as much as truth: {', '.join(void)}. Pasting keeps what was "
            "given, whatever the model makes."
        )
    broken = [f"{row.group}: {row.name}" for row in rows if row.void and row.score.value < 1]
    if broken:
        yield f"Broken, although pasting should keep it: {', '.join(broken)}."

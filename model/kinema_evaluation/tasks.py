"""One verdict for every task that a model was trained for, each by what that task promises.

Where given frames meet made ones, velocity may jump at most twice as much as it does between the same frames of true
clips; what is given must come out bit for bit; what is asked in words must be there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from kinema_evaluation import staged
from kinema_evaluation.bootstrap import mean, ratio_of_means
from kinema_evaluation.captions import EVERYTHING, marks, read_all
from kinema_evaluation.motion import given_frames
from kinema_evaluation.plan import SEEN, EvaluationContext, SkippedSection, facts_read, true_clips
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Score, Section
from kinema_evaluation.tracking import Floats, jump, velocity, visible_centres
from kinema_model.codec.codec import pixels
from kinema_model.conditions.task_inputs import TaskInputs, inputs_for
from kinema_model.conditions.tasks import Task
from kinema_model.source import Captions
from kinema_world import Scene, SceneKind, Video

SEAM: Final = "seam"
GIVEN: Final = "given frames"
OUTSIDE: Final = "outside"
INSIDE: Final = "inside"
KEPT: Final = "object kept"
MOVES: Final = "moves"
CHANGED: Final = "changed as asked"
SMOOTH: Final = "smooth"
_MOST_JUMP: Final = 2.0
_MOSTLY: Final = 0.9
# Jumps below this many pixels per frame are the reader's own.
_LEAST_JUMP: Final = 0.02
_MOTION: Final = 0.2
_LEAST_TRAVEL: Final = 0.04
_LEAST_OUTSIDE: Final = 0.05
_SHOWN: Final = 4
# Kinds whose first object has a smooth trajectory, the simplest first.
_PLAIN: Final = (SceneKind.SIMPLE, SceneKind.SEVERAL, SceneKind.BOUNCE)
_LEAST_FRAMES: Final = 5
_SEAM_MEANING: Final = "velocity jump where given and made frames meet, as a multiple of that of true clips"
_GIVEN_MEANING: Final = "what was given comes out bit for bit"


@dataclass(frozen=True)
class Bench:
    """The scenes by which all tasks are judged, with their true clips uint8 (T, H, W, 3)."""

    examination: EvaluationContext
    scenes: Sequence[Scene]
    truth: Sequence[Video]

    @property
    def frames(self) -> int:
        """Length of every clip."""
        return self.examination.shape.frames

    def ask(self, task: Task, inputs: Sequence[TaskInputs], captions: Sequence[Captions] = ()) -> list[Video]:
        """The model's clips (T, H, W, 3) by the captions of the scenes, or by others. Raises `ModelError`."""
        prompts = [said.short for said in captions or [scene.captions for scene in self.scenes]]
        return self.examination.complete(task, prompts, inputs)

    def jumps(self, clips: Sequence[Video], seams: Sequence[int]) -> list[float]:
        """The largest velocity jump of the first object at any seam, in px per frame, of each clip (T, H, W, 3).

        What is unreadable counts as much as a whole side. `seams` are the first frames of what follows.
        """
        found = []
        for scene, clip in zip(self.scenes, clips, strict=True):
            centres = visible_centres(clip, scene.shots[0].tracks[0].appearance.colour)
            at_seams = [jump(centres, seam) for seam in seams]
            lost = float(scene.shape.side)
            found.append(max(lost if one is None else one for one in at_seams))
        return found

    def seam_row(self, task: Task, clips: Sequence[Video], seams: Sequence[int]) -> Row:
        """How seams of clips (T, H, W, 3) compare with the same frames of true clips."""
        mine = self.jumps(clips, seams)
        return self.jump_row(task, mine, self.jumps(self.truth, seams))

    def jump_row(self, task: Task, mine: Sequence[float], true: Sequence[float]) -> Row:
        """Jumps as a multiple of those of true clips."""
        unreadable = sum(one == self.examination.shape.side for one in mine)
        return _row(SEAM, task, _SEAM_MEANING, ratio_of_means(mine, true, _LEAST_JUMP), _MOST_JUMP, unreadable)

    def given_row(self, task: Task, clips: Sequence[Video], frames: Sequence[int]) -> Row:
        """Whether these frames of clips (T, H, W, 3) are those of the true clips."""
        places = list(frames)
        same = [float(np.array_equal(c[places], t[places])) for c, t in zip(clips, self.truth, strict=True)]
        return _row(GIVEN, task, _GIVEN_MEANING, mean(same), 1.0)

    def sheet(self, task: Task, clips: Sequence[Video], scenes: Sequence[Scene] | None = None) -> ContactSheet:
        """The first clips (T, H, W, 3) of a task."""
        pairs = list(zip(scenes or self.scenes, clips, strict=True))[:_SHOWN]
        return ContactSheet(f"{task}", tuple(ReportClip(scene.captions.short, clip) for scene, clip in pairs))


Found = tuple[list[Row], ContactSheet]


def _row(
    name: str,
    task: Task,
    meaning: str,
    score: Score | None,
    bar: float,
    unreadable: int = 0,
    floor: Score | None = None,
) -> Row:
    assert score is not None
    return Row(
        name=name,
        group=task,
        meaning=meaning,
        score=score,
        floor=floor,
        bar=bar,
        unreadable=unreadable,
        better="lower" if name in (SEAM, SMOOTH) else "higher",
        unit="ratio" if name in (SEAM, SMOOTH) else "share",
    )


def _has_appearance(clip: Video, scene: Scene) -> bool:
    """Whether the first object has the scene's colour and shape."""
    appearance = scene.shots[0].tracks[0].appearance
    shots = facts_read(clip, scene.kind, scene.shape.fps).shots
    return any((thing.colour, thing.shape) == (appearance.colour, appearance.shape) for thing in shots[0].objects)


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
    row = _row(EVERYTHING, task, meaning, mean(right(clips)), _MOSTLY, floor=mean(right(truth)))
    return [row], bench.sheet(task, clips, scenes)


def _image(bench: Bench) -> Found:
    inputs = [inputs_for(Task.IMAGE, bench.frames, pixels(clip[:1])) for clip in bench.truth]
    clips = bench.ask(Task.IMAGE, inputs)
    kept, floor = (
        mean([float(_has_appearance(c[1:], s)) for s, c in zip(bench.scenes, of, strict=True)])
        for of in (clips, bench.truth)
    )
    meaning = "the object of the picture has its colour and shape in what follows the picture"
    rows = [
        _row(KEPT, Task.IMAGE, meaning, kept, _MOSTLY, floor=floor),
        _moves_row(bench, Task.IMAGE, clips, "the object moves: a still picture is no clip"),
        bench.given_row(Task.IMAGE, clips, [0]),
    ]
    return rows, bench.sheet(Task.IMAGE, clips)


def _extend(bench: Bench) -> Found:
    count = given_frames(bench.frames)
    inputs = [inputs_for(Task.EXTEND, bench.frames, pixels(clip[:count])) for clip in bench.truth]
    clips = bench.ask(Task.EXTEND, inputs)
    rows = [bench.seam_row(Task.EXTEND, clips, [count]), bench.given_row(Task.EXTEND, clips, range(count))]
    return rows, bench.sheet(Task.EXTEND, clips)


def _extend_back(bench: Bench) -> Found:
    first = bench.frames - given_frames(bench.frames)
    inputs = [inputs_for(Task.EXTEND_BACK, bench.frames, pixels(clip[first:])) for clip in bench.truth]
    clips = bench.ask(Task.EXTEND_BACK, inputs)
    given = range(first, bench.frames)
    rows = [bench.seam_row(Task.EXTEND_BACK, clips, [first]), bench.given_row(Task.EXTEND_BACK, clips, given)]
    return rows, bench.sheet(Task.EXTEND_BACK, clips)


def _fill(bench: Bench) -> Found:
    last = bench.frames - 1
    inputs = [inputs_for(Task.FILL, bench.frames, pixels(clip[:1]), pixels(clip[-1:])) for clip in bench.truth]
    clips = bench.ask(Task.FILL, inputs)
    rows = [bench.seam_row(Task.FILL, clips, [1, last]), bench.given_row(Task.FILL, clips, [0, last])]
    return rows, bench.sheet(Task.FILL, clips)


def _loop(bench: Bench) -> Found:
    inputs = [inputs_for(Task.LOOP, bench.frames, pixels(clip[:1])) for clip in bench.truth]
    clips = bench.ask(Task.LOOP, inputs, [scene.captions.and_back() for scene in bench.scenes])
    # Frames around the seam in the order in which they are shown, so that the seam lies in the middle.
    around = [np.concatenate((clip[-2:], clip[:2])) for clip in clips]
    middle = bench.frames // 2
    rows = [
        bench.jump_row(Task.LOOP, bench.jumps(around, [2]), bench.jumps(bench.truth, [middle])),
        bench.given_row(Task.LOOP, clips, [0]),
        _moves_row(bench, Task.LOOP, clips, "the object moves: a still picture has no seam"),
    ]
    return rows, bench.sheet(Task.LOOP, clips)


def _moves_row(bench: Bench, task: Task, clips: Sequence[Video], meaning: str) -> Row:
    moving, floor = (_moving(bench, of) for of in (clips, bench.truth))
    return _row(MOVES, task, meaning, moving, _MOSTLY, floor=floor)


def _moving(bench: Bench, clips: Sequence[Video]) -> Score | None:
    moves = []
    for scene, clip in zip(bench.scenes, clips, strict=True):
        centres = visible_centres(clip, scene.shots[0].tracks[0].appearance.colour)
        seen = centres[~np.isnan(centres[:, 0])]
        moves.append(float(len(seen) > 1 and np.ptp(seen, axis=0).max() > _LEAST_TRAVEL * scene.shape.side))
    return mean(moves)


def _inpaint(bench: Bench) -> Found:
    asked = [staged.with_new_appearance(scene, shape_too=True) for scene in bench.scenes]
    masks = [staged.region(scene, other) for scene, other in zip(bench.scenes, asked, strict=True)]
    reach = max(bench.examination.model.config.grid.cell[1:]) // 2
    outside = [staged.far_outside(mask, reach).numpy() for mask in masks]
    inputs = [
        inputs_for(Task.INPAINT, bench.frames, pixels(clip), mask=mask)
        for clip, mask in zip(bench.truth, masks, strict=True)
    ]
    clips = bench.ask(Task.INPAINT, inputs, [scene.captions for scene in asked])
    same = [
        float(np.array_equal(clip[there], true[there]))
        for clip, true, there in zip(clips, bench.truth, outside, strict=True)
        if there.mean() > _LEAST_OUTSIDE
    ]
    inside, floor = (
        mean([float(_has_appearance(c, s)) for s, c in zip(asked, of, strict=True)])
        for of in (clips, true_clips(asked))
    )
    meaning = "in the region made anew, the object has the colour and shape of the new caption"
    rows = [_row(INSIDE, Task.INPAINT, meaning, inside, _MOSTLY, floor=floor)]
    if same:
        unchanged = "what lies outside the mask is unchanged, bit for bit"
        rows.append(_row(OUTSIDE, Task.INPAINT, unchanged, mean(same), 1.0))
    return rows, bench.sheet(Task.INPAINT, clips, asked)


def _edit(bench: Bench) -> Found:
    asked = [staged.with_new_appearance(scene, shape_too=False) for scene in bench.scenes]
    inputs = [inputs_for(Task.EDIT, bench.frames, pixels(clip)) for clip in bench.truth]
    clips = bench.ask(Task.EDIT, inputs, [scene.captions for scene in asked])
    right, floor = ([float(_edited(s, c)) for s, c in zip(asked, of, strict=True)] for of in (clips, true_clips(asked)))
    meaning = "the object has the new colour and still moves as in the source (20 %)"
    row = _row(CHANGED, Task.EDIT, meaning, mean(right), _MOSTLY, floor=mean(floor))
    return [row], bench.sheet(Task.EDIT, clips, asked)


def _edited(asked: Scene, clip: Video) -> bool:
    appearance = asked.shots[0].tracks[0].appearance
    (true,) = true_clips([asked])
    now, meant = (velocity(visible_centres(of, appearance.colour), 0, len(of), asked.shape.fps) for of in (clip, true))
    if now is None or meant is None:
        return False
    return bool(np.linalg.norm(now - meant) <= _MOTION * np.linalg.norm(meant))


def _blend(bench: Bench) -> Found:
    seconds = [*bench.truth[1:], bench.truth[0]]
    inputs = [
        inputs_for(Task.BLEND, bench.frames, pixels(first), pixels(second))
        for first, second in zip(bench.truth, seconds, strict=True)
    ]
    captions = [scene.captions for scene in bench.scenes]
    clips = bench.ask(Task.BLEND, inputs, [one.then(other) for one, other in pairwise([*captions, captions[0]])])
    ends = [
        float(np.array_equal(clip[0], first[0]) and np.array_equal(clip[-1], second[-1]))
        for clip, first, second in zip(clips, bench.truth, seconds, strict=True)
    ]
    share = np.linspace(0, 1, bench.frames)[:, None, None, None]
    fades = [(1 - share) * first + share * second for first, second in zip(bench.truth, seconds, strict=True)]
    largest, usual = ([_largest_step(clip) for clip in of] for of in (clips, fades))
    meaning = "largest change between two frames, as a multiple of that of a cross-fade of the two: a cut is no blend"
    rows = [
        _row(SMOOTH, Task.BLEND, meaning, ratio_of_means(largest, usual, _LEAST_JUMP), _MOST_JUMP),
        _row(GIVEN, Task.BLEND, _GIVEN_MEANING, mean(ends), 1.0),
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
    scenes = examination.groups([kind], examination.plan.completions)[SEEN]
    if not scenes:
        raise SkippedSection(f"The model's world leaves no scene of the kind {kind.value!r} in the model's own clip.")
    bench = Bench(examination, scenes, true_clips(scenes))
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
        remarks=tuple(_remarks(examination, kind)),
        sheets=tuple(sheets),
    )


def _remarks(examination: EvaluationContext, kind: SceneKind) -> Iterator[str]:
    missing = [task for task in Task if not examination.can(task)]
    if missing:
        yield f"Not trained, so not asked: {', '.join(missing)}."
    yield (
        f"All tasks are asked about scenes of the kind {kind.value!r}. Their courses are smooth, so the jump of true "
        "clips is nearly the reader's own error and the bar of twice that is strict."
    )

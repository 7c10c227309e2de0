"""make gpu-proof: what a model learns of the full world in eight minutes on one GPU, measured and held to bars.

Phases: training; captions, motion, permanence, streams, shots; the three compute points of that training; the report.
Each call works for PROOF_SLICE seconds and exits 75 until all is done; then 0 where all bars are met, and 1 where one
is missed. A call may be killed at any moment. The last line is one JSON object. docs/gpu-proof.md says more.

Environment: PROOF_FOLDER (out/gpu-proof), PROOF_SLICE (500), PROOF_SCALE (1), which multiplies seconds and clips (0.01
rehearses every phase on a CPU, and its figures mean nothing), PROOF_PRESET (small; tiny rehearses), PROOF_SECONDS (480)
of training, PROOF_TOKENS (4096 on a CPU, 32768 on a GPU) of a step, PROOF_RATE (the preset's), PROOF_CLIPS (128) of
each group, PROOF_STREAM_SECONDS (60), PROOF_STEPS (16) of the sampler, PROOF_SEED (1), PROOF_COMPILE (0 on a CPU, 1 on
a GPU), PROOF_WORKERS (none on a CPU, one for each core but two on a GPU), processes that make batches.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench import device
from kinema_evaluation import Report
from kinema_evaluation.errors import EvaluationError
from kinema_jobs.evaluate.report import Origin, write_report
from kinema_model.errors import ModelError
from kinema_world.errors import WorldError
from proof.examining import Examiner
from proof.folder import Folder
from proof.settings import FINAL, Settings, number
from proof.training import Progress, Trainer
from proof.verdicts import Verdict, all_figures, exit_code, judge
from stage.measure import machine, result
from stage.slices import STOPPED, Slice, SliceOver

SLICE_SECONDS = 500.0
_TRAINED = "training"
_CALLS = "calls"


def main() -> int:
    """Go on with the proof; see the module for exit codes, and 2 for what cannot be started."""
    begun = time.monotonic()
    if device.GPU:
        # What is not in bf16 is evaluation, which bears the 10 bits of TF32.
        torch.set_float32_matmul_precision("high")
    try:
        settings = Settings.from_environment()
        slice_ = Slice(number("SLICE", SLICE_SECONDS))
        folder = Folder(Path(os.environ.get("PROOF_FOLDER", "out/gpu-proof")), asdict(settings))
        try:
            progress = trained(settings, folder, slice_)
            report = Examiner(settings, folder, slice_).run()
        finally:
            note_call(folder, time.monotonic() - begun)
        return conclude(settings, folder, progress, report)
    except SliceOver:
        print("this call's time is over: give the same command again to go on", flush=True)
        return STOPPED
    except (EvaluationError, ModelError, WorldError) as error:
        print(error, file=sys.stderr)
        return 2


def trained(settings: Settings, folder: Folder, slice_: Slice) -> Progress:
    """The whole training. Raises `SliceOver`."""
    record = folder.records.get(_TRAINED)
    if record is None:
        trainer = Trainer(settings, folder)
        trainer.run(slice_)
        record = asdict(trainer.progress)
        folder.note(_TRAINED, record)
    return Progress(**record)


def note_call(folder: Folder, seconds: float) -> None:
    """Add up the calls that ended by themselves, and their seconds."""
    before = folder.records.get(_CALLS, {"count": 0, "seconds": 0.0})
    folder.note(_CALLS, {"count": before["count"] + 1, "seconds": before["seconds"] + seconds})


def conclude(settings: Settings, folder: Folder, progress: Progress, report: Report) -> int:
    """Write the report, print each verdict and the last line; the exit code."""
    calls = folder.records[_CALLS]
    origin = Origin(str(folder.point(FINAL)), None, round(calls["seconds"], 1))
    files = write_report(report, origin, folder.path / "report")
    verdicts = judge(report.sections, report.absent)
    print("\n".join([*map(str, files), *map(str, verdicts)]), flush=True)
    result("gpu-proof", **figures(settings, folder, progress, report, verdicts))
    return exit_code(verdicts)


def figures(
    settings: Settings, folder: Folder, progress: Progress, report: Report, verdicts: list[Verdict]
) -> dict[str, Any]:
    """All that the last line holds."""
    calls = folder.records[_CALLS]
    return {
        "met": all(verdict.met for verdict in verdicts),
        "bars": [verdict.to_json() for verdict in verdicts],
        "figures": all_figures(report.sections),
        "absent": report.absent,
        "points": progress.points,
        "machine": machine(),
        "device": device.name(),
        "settings": asdict(settings),
        "training_seconds": round(progress.seconds, 1),
        "steps": progress.step,
        "tokens_seen": progress.tokens,
        "tokens_per_second": round(progress.tokens / max(progress.seconds, 1e-9)),
        "waiting": round(progress.waited / max(progress.seconds, 1e-9), 4),
        "loss": round(progress.loss, 5),
        "recompiles": progress.recompiles,
        "peak_memory_gib": progress.peak_memory_gib,
        "calls": calls["count"],
        "seconds": round(calls["seconds"], 1),
    }

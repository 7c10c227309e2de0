"""Evaluates the trained model: sections of `kinema evaluate`, one by one, including the compute points."""

from __future__ import annotations

import time
from typing import Final

from kinema_evaluation import EvaluationPlan, Report, evaluate
from kinema_evaluation.plan import EvaluationContext
from proof.folder import Folder
from proof.recorded import Recorded
from proof.settings import FINAL, POINTS, Settings
from stage.slices import Slice

ABLATIONS: Final = "ablations"
SECTIONS: Final = ("captions", "motion", "permanence", "drift", "shots", ABLATIONS)
EARLIER: Final = tuple(point for point in POINTS if point != FINAL)
_TELL_EVERY: Final = 15.0


class Examiner:
    """Evaluates within a slice; earlier results are in the folder."""

    def __init__(self, settings: Settings, folder: Folder, slice_: Slice) -> None:
        self._settings, self._folder, self._slice = settings, folder, slice_
        self._reported_at = time.monotonic()

    def run(self) -> Report:
        """All sections. Raises `SliceOver`, before which all clips that were made are kept."""
        final = self._model(FINAL)
        for name in SECTIONS:
            if f"section {name}" not in self._folder.records and f"absent {name}" not in self._folder.records:
                self._examine(final, name)
        return self._report(final)

    def _examine(self, model: Recorded, name: str) -> None:
        beside = self._earlier() if name == ABLATIONS else {}
        report = evaluate(model, self._plan((name,)), self._tell, beside)
        if name in report.sections:
            self._folder.keep_section(name, report.sections[name])
        else:
            self._folder.note(f"absent {name}", report.absent[name])
        print(f"{name}: {report.absent.get(name, 'measured')}", flush=True)

    def _report(self, model: Recorded) -> Report:
        plan = self._plan(SECTIONS)
        sections = {name: found for name in SECTIONS if (found := self._folder.section(name)) is not None}
        absent = {
            name: self._folder.records[key] for name in SECTIONS if (key := f"absent {name}") in self._folder.records
        }
        return EvaluationContext(model, plan, self._tell, beside=self._earlier()).report(sections, absent)

    def _earlier(self) -> dict[str, Recorded]:
        """Models of the compute points before the last."""
        return {point: self._model(point) for point in EARLIER}

    def _model(self, point: str) -> Recorded:
        settings, folder = self._settings, self._folder
        return Recorded(folder.point(point), settings.config, folder.clips, self._slice, settings.device)

    def _plan(self, sections: tuple[str, ...]) -> EvaluationPlan:
        settings = self._settings
        return EvaluationPlan(
            clips=settings.clips,
            steps=settings.steps,
            seconds=settings.stream_seconds,
            world=settings.world,
            sections=sections,
        )

    def _tell(self, section: str, done: int, total: int) -> None:
        if time.monotonic() - self._reported_at >= _TELL_EVERY:
            self._reported_at = time.monotonic()
            print(f"{section}: {done} of {total} clips", flush=True)

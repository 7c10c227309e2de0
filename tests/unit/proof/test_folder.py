"""The work folder gives back what was put there, and refuses other settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinema_evaluation import ContactSheet, Curve, ReportClip, Row, Score, Section
from kinema_model.errors import ConfigError
from proof.folder import Folder


def section() -> Section:
    clips = [np.full((2, 4, 6, 3), number, dtype=np.uint8) for number in range(3)]
    return Section(
        title="Captions",
        question="Does it?",
        rows=(Row(name="colour", group="seen", meaning="colours", score=Score(value=0.5, low=0.25, high=1, clips=4)),),
        curves=(Curve(name="over time", across="seconds", x=(0.0, 1.0), y=(1.0, 0.5)),),
        remarks=("so it is",),
        sheets=(
            ContactSheet("first", (ReportClip("a", clips[0], True), ReportClip("b", clips[1], False))),
            ContactSheet("second", (ReportClip("c", clips[2]),)),
        ),
    )


def test_a_section_comes_back_with_its_clips(tmp_path: Path) -> None:
    Folder(tmp_path, {"seed": 1}).keep_section("two words", section())
    found = Folder(tmp_path, {"seed": 1}).section("two words")
    assert found is not None
    assert found.model_dump() == section().model_dump()
    for sheet, true in zip(found.sheets, section().sheets, strict=True):
        assert sheet.title == true.title
        for one, other in zip(sheet.shown, true.shown, strict=True):
            assert (one.label, one.good) == (other.label, other.good)
            assert np.array_equal(one.video, other.video)


def test_a_section_that_was_not_kept_is_none(tmp_path: Path) -> None:
    assert Folder(tmp_path, {}).section("captions") is None


def test_other_settings_are_refused(tmp_path: Path) -> None:
    Folder(tmp_path, {"seed": 1}).note("training", {"step": 3})
    with pytest.raises(ConfigError, match="Remove it or set PROOF_FOLDER"):
        Folder(tmp_path, {"seed": 2})
    assert Folder(tmp_path, {"seed": 1}).records == {"training": {"step": 3}}


def test_a_point_that_broke_off_is_made_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {})

    def broken(part: Path) -> None:
        part.mkdir(parents=True)
        (part / "half").touch()
        raise OSError

    def whole(part: Path) -> None:
        part.mkdir(parents=True)
        (part / "model").touch()

    with pytest.raises(OSError):
        folder.keep_point("1x", broken)
    assert not folder.point("1x").exists()
    folder.keep_point("1x", whole)
    folder.keep_point("1x", whole)
    assert [file.name for file in folder.point("1x").iterdir()] == ["model"]

"""Calls of limited length, and files that survive a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema_model.errors import ConfigError
from stage.slices import Slice, SliceOver, StateFile, replace_file


def test_a_slice_is_over_when_its_seconds_are() -> None:
    now = [100.0]
    one = Slice(5, lambda: now[0])
    one.check()
    now[0] = 104.9
    assert not one.over
    now[0] = 105.0
    with pytest.raises(SliceOver):
        one.check()


def test_a_file_that_broke_off_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    replace_file(file, lambda part: part.write_text("old"))

    def broken(part: Path) -> None:
        part.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(file, broken)
    assert file.read_text() == "old"


def test_records_belong_to_their_settings(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "state.json"
    StateFile(file, {"rates": (1, 2)}, "Remove it.").write({"a": 1})
    assert StateFile(file, {"rates": (1, 2)}, "Remove it.").found == {"a": 1}
    with pytest.raises(ConfigError, match=r"other settings\. Remove it\."):
        StateFile(file, {"rates": (1, 3)}, "Remove it.")

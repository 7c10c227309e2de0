"""Windows of the watermark's bench: all sources in turn, of the size that is asked for, however short a source is."""

import pytest

from bench import watermark_material
from bench.watermark_material import FPS, REAL, Window, windows


def test_windows_are_of_all_sources_and_differ() -> None:
    found = windows(300)
    assert len(set(found)) == 300
    real = [one for one in found if one.source in REAL]
    assert {one.source for one in real} == set(REAL)
    assert 0.5 < len(real) / len(found) < 0.9
    assert {one.source.partition("-")[0] for one in found if one not in real} == {"model", "world"}


def test_a_window_has_the_size_that_is_asked_for() -> None:
    assert Window("model-0", 5, 1.25, mirrored=True).frames(round(FPS), 96, 160).shape == (24, 96, 160, 3)


def test_a_source_of_one_frame_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Window("model-1", 0, 1.0, mirrored=False).frames(1, 96, 160)
    source = watermark_material._source("model-1")
    monkeypatch.setattr(watermark_material, "_source", lambda _name: (source[0][:1], 8.0))
    assert (Window("model-1", 3, 1.0, mirrored=False).frames(4, 96, 160) == first).all()

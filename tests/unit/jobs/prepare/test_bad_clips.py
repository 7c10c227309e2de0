"""Whatever a bucket holds becomes clips as a player shows it, or one sentence that is counted by its reason."""

from __future__ import annotations

import struct
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kinema_api.recorded import ClipFilters
from kinema_dataset.parts import Part
from kinema_dataset.records import Filter
from kinema_jobs.clip.decoding.errors import Reason
from kinema_jobs.prepare import decode
from kinema_jobs.prepare.clip_maker import ClipMaker
from unit.dataset.pictures import panned
from unit.jobs.prepare.material import LENIENT, TARGET, encoded, real
from unit.jobs.test_clips_as_meant import h264, quarters, turned

pytestmark = pytest.mark.slow

Write = Callable[[Path], Path]


def part(path: Path, window: int = 0, *, picture: bool = False, **filters: object) -> Part:
    """What becomes of a file; shards are thrown away."""
    maker = ClipMaker(TARGET, ClipFilters.model_validate({**LENIENT, **filters}), path.parent, Path.unlink)
    return maker.part(path, "s3://bucket/videos/one", "etag", window, picture=picture)


def saved(folder: Path, data: bytes, name: str = "one.mp4") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def cut(folder: Path) -> Path:
    return saved(folder, real("bikes")[:60_000])


def cut_in_the_middle(folder: Path) -> Path:
    whole = h264(folder, panned(1, 64), options={"movflags": "faststart"}).read_bytes()
    return saved(folder, whole[: len(whole) * 2 // 3])


def cut_webm(folder: Path) -> Path:
    whole = encoded(folder / "whole.webm", panned(1, 64), codec="libvpx-vp9")
    return saved(folder, whole[: len(whole) // 2], "one.webm")


def sound(folder: Path) -> Path:
    with av.open(str(folder / "one.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder / "one.mp4"


def waves(folder: Path) -> Path:
    with wave.open(str(folder / "one.mp4"), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(b"\0" * 8000)
    return folder / "one.mp4"


def hdr(folder: Path) -> Path:
    return h264(folder, panned(1, 8, 64, 96), "yuv420p10le", color_trc=16, color_primaries=9, colorspace=9)


def transparent(folder: Path) -> Path:
    with av.open(str(folder / "one.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        for pixels in panned(1, 8, 64, 96):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuva420p")))
        container.mux(stream.encode(None))
    return folder / "one.webm"


def interlaced(folder: Path) -> Path:
    return h264(folder, panned(1, 8, 64, 96), options={"flags": "+ildct+ilme", "x264-params": "interlaced=1"})


def slanted(folder: Path) -> Path:
    return turned(h264(folder, panned(1, 8, 64, 96)), (1, 1, -1, 1))


def old_codec(folder: Path) -> Path:
    encoded(folder / "one.mov", panned(1, 8, 64, 96), codec="mjpeg", pix_fmt="yuvj420p")
    return folder / "one.mov"


def huge(folder: Path) -> Path:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 13, b"IHDR") + struct.pack(">IIBBBBB", 9000, 20, 8, 2, 0, 0, 0)
    Image.fromarray(np.zeros((20, 9000, 3), np.uint8)).save(folder / "one.png")
    assert (folder / "one.png").read_bytes().startswith(head)
    return folder / "one.png"


def text(folder: Path) -> Path:
    return saved(folder, b"<html>not found</html>")


def nothing(folder: Path) -> Path:
    return saved(folder, b"")


@pytest.mark.parametrize(
    ("write", "reason", "words"),
    [
        (cut, Reason.DAMAGED, "damaged or cut off"),
        (cut_in_the_middle, Reason.DAMAGED, "damaged or cut off"),
        (cut_webm, Reason.DAMAGED, "damaged or cut off"),
        (text, Reason.DAMAGED, "its format is unknown"),
        (nothing, Reason.DAMAGED, "its format is unknown"),
        (sound, Reason.NO_VIDEO, "has no video"),
        (waves, Reason.KIND, "is a sound"),
        (hdr, Reason.HDR, "HDR (PQ)"),
        (transparent, Reason.TRANSPARENT, "transparent in places"),
        (interlaced, Reason.INTERLACED, "Deinterlace it first"),
        (slanted, Reason.TURNED, "Save it upright"),
        (old_codec, Reason.CODEC, "Use H.264"),
        (huge, Reason.TOO_LARGE, "is 9000x20 and at most 8192. Scale it down"),
    ],
)
def test_what_cannot_be_shown_as_meant_is_refused_by_name(
    tmp_path: Path, write: Write, reason: Reason, words: str
) -> None:
    found = part(write(tmp_path))
    assert (found.refused, found.clips) == (reason, ())
    assert words in found.sentence
    assert found.sentence.endswith(".")


@pytest.mark.parametrize(
    ("size", "shape"),
    [((64, 96), (64, 96)), ((66, 98), (64, 96)), ((130, 50), (128, 48)), ((48, 480), (24, 248)), ((20, 22), (16, 24))],
)
def test_any_size_becomes_whole_cells(tmp_path: Path, size: tuple[int, int], shape: tuple[int, int]) -> None:
    (clip,) = part(h264(tmp_path, panned(1, 16, *size))).clips
    assert clip.stored is not None
    assert (clip.stored.shape.height, clip.stored.shape.width) == shape


def test_odd_sizes_are_whole_cells_too(tmp_path: Path) -> None:
    encoded(tmp_path / "one.mkv", panned(1, 16, 67, 99), codec="libx264", pix_fmt="yuv444p")
    (clip,) = part(tmp_path / "one.mkv").clips
    assert clip.stored is not None
    assert (clip.stored.shape.height, clip.stored.shape.width, clip.segment.height) == (64, 96, 67)


def test_a_turned_video_is_upright_and_wide_pixels_are_square(tmp_path: Path) -> None:
    (clip,) = part(turned(h264(tmp_path, panned(1, 16, 64, 96)), (0, 1, -1, 0))).clips
    assert (clip.segment.height, clip.segment.width) == (96, 64)
    wide = h264(tmp_path, panned(1, 16, 64, 72), name="wide.mp4", sample_aspect_ratio=Fraction(4, 3))
    (clip,) = part(wide).clips
    assert (clip.segment.height, clip.segment.width) == (64, 96)


def test_a_video_of_one_frame_is_too_short(tmp_path: Path) -> None:
    (clip,) = part(h264(tmp_path, [quarters()])).clips
    assert clip.filter == Filter.LENGTH
    assert clip.sentence == "1 frame, shorter than 8 (min_frames)"


def test_pictures_are_clips_of_one_frame_where_the_length_allows_it(tmp_path: Path) -> None:
    Image.fromarray(panned(1, 1, 640, 960)[0]).save(tmp_path / "one.png")
    (clip,) = part(tmp_path / "one.png", picture=True).clips
    assert clip.filter == Filter.LENGTH
    single = TARGET.model_copy(update={"cell": (1, 8, 8)})
    filters = ClipFilters.model_validate({"minFrames": 1, "minSharpness": 0})
    maker = ClipMaker(single, filters, tmp_path, Path.unlink)
    (clip,) = maker.part(tmp_path / "one.png", "s3://bucket/one.png", "e", 0, picture=True).clips
    assert clip.stored is not None
    assert (clip.stored.shape.frames, clip.stored.shape.height, clip.stored.shape.width) == (1, 64, 96)


def test_frames_of_uneven_length_come_at_a_constant_rate(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "one.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height = 96, 64
        for number, pixels in zip((0, 1, 2, 9, 10, 11, 12, 20, 21, 22, 23, 31), panned(1, 12, 64, 96), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = part(tmp_path / "one.mkv")
    assert found.refused is None
    fps = found.clips[0].segment.fps
    assert fps <= TARGET.fps
    assert sum(clip.segment.frames for clip in found.clips) / fps == pytest.approx(4, abs=0.75), (
        "32 eighths of a second"
    )


def test_a_faster_video_is_reduced_to_the_rate_of_the_model(tmp_path: Path) -> None:
    encoded(tmp_path / "one.mp4", panned(1, 60, 64, 96, step=0.5), rate=30)
    (clip,) = part(tmp_path / "one.mp4").clips
    assert (clip.segment.fps, clip.segment.frames) == (8, 16)


def test_a_long_video_is_prepared_by_windows_that_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded(tmp_path / "one.mp4", panned(1, 56, 64, 96, step=1.0), rate=8, options={"g": "10"})
    (whole,) = (clip.segment for clip in part(tmp_path / "one.mp4", minFrames=8).clips[:1])
    assert whole.first == 0
    video = decode.opened(tmp_path / "one.mp4", "video", 8)
    every = list(video.frames(0, 1000, 1 << 20))
    monkeypatch.setattr(decode, "WINDOW_SECONDS", 3)
    assert video.windows == 3
    parts = [part(tmp_path / "one.mp4", window) for window in range(3)]
    spans = [(clip.segment.first, clip.segment.end) for one in parts for clip in one.clips]
    assert spans == [(0, 12), (12, 24), (24, 36), (36, 48), (48, 56)]
    assert {one.windows for one in parts} == {3}
    assert not any(one.more for one in parts)
    for window in range(3):
        first, end = video.span(window)
        assert all(
            np.array_equal(one, other)
            for one, other in zip(video.frames(first, end, 1 << 20), every[first:end], strict=True)
        ), "frames of a window are those of the whole video"
    empty = part(tmp_path / "one.mp4", 3)
    assert (empty.clips, empty.refused) == ((), None)


def test_a_video_longer_than_its_headers_tell_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded(tmp_path / "one.mp4", panned(1, 56, 64, 96, step=1.0), rate=8)
    monkeypatch.setattr(decode, "WINDOW_SECONDS", 3)
    monkeypatch.setattr(decode.Video, "windows", 2)
    assert [part(tmp_path / "one.mp4", window).more for window in (0, 1, 2)] == [False, True, False]


def test_ten_hours_are_windows_of_two_minutes(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "one.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"preset": "ultrafast", "g": "60"})
        stream.width, stream.height = 96, 64
        for number, pixels in enumerate(panned(1, 600, 64, 96, step=0.1)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = 60 * number, Fraction(1, 1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = part(tmp_path / "one.mp4", 150)
    assert found.windows == 300
    assert found.refused is None
    assert all(clip.segment.fps < 1 for clip in found.clips), "a frame a minute"


def test_a_name_or_a_file_that_lies_about_its_kind_is_read_for_what_it_is(tmp_path: Path) -> None:
    path = h264(tmp_path, panned(1, 16, 64, 96)).rename(tmp_path / "one.png")
    (clip,) = part(path, picture=True).clips
    assert clip.stored is not None
    assert clip.stored.shape.frames == 16

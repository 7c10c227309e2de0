"""A clip is taken as a player shows it, or refused in a sentence that says what to do, at little cost."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from kinema_jobs.clip.inputs import open_input
from kinema_jobs.clip.media import Video, write_mp4
from kinema_model.errors import ShapeError

pytestmark = pytest.mark.slow


RED, BLUE, GREEN, WHITE = (220, 20, 20), (20, 20, 220), (20, 220, 20), (235, 235, 235)
TURNS = {
    "as it is": ((1, 0, 0, 1), lambda p: p),
    "mirrored": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "upside down": ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
    "mirrored upside down": ((1, 0, 0, -1), lambda p: p[::-1]),
    "to the right": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "to the left": ((0, -1, 1, 0), lambda p: np.rot90(p)),
    "across one diagonal": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    "across the other": ((0, -1, -1, 0), lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
}
"""The signs of a display matrix, and what it makes of a frame, by numpy's own words."""
PEAK = """
import json, resource, sys
from pathlib import Path
from kinema_jobs.clip.inputs import open_input
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_input("input", Path(sys.argv[1]), 64).frames(8, 8)
    said = ""
except Exception as error:
    said = str(error)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([grown, said]))
"""


def quarters(height: int = 32, width: int = 48) -> Video:
    pixels = np.full((height, width, 3), WHITE, np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = BLUE
    pixels[height // 2 :, : width // 2] = GREEN
    return pixels


def h264(folder: Path, frames: Iterable[Video], pix_fmt: str = "yuv420p", name: str = "input.mp4", **how: Any) -> Path:
    """An H.264 file; `how` are attributes of the encoder, options among them."""
    path = folder / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(how.pop("codec", "libx264"), rate=8)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if not number:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                for key, value in how.items():
                    setattr(stream if key == "sample_aspect_ratio" else stream.codec_context, key, value)
            matrix = {"src_colorspace": Colorspace.ITU709, "dst_colorspace": how.get("colorspace", Colorspace.ITU601)}
            ranges = {"src_color_range": ColorRange.JPEG, "dst_color_range": how.get("color_range", ColorRange.MPEG)}
            made = frame.reformat(format=pix_fmt, **matrix, **ranges)
            made.pts, made.time_base = number, Fraction(1, 8)
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return path


def shown(path: Path, largest: int = 64) -> Video:
    return open_input("input", path, largest).frames(8, 8)


def turned(path: Path, signs: tuple[int, int, int, int]) -> Path:
    """The MP4 with this display matrix in its track header, on either of the two places of a matrix of one."""
    whole, one = path.read_bytes(), 0x10000
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 0x40000000)
    a, b, c, d = (sign * one for sign in signs)
    at = whole.index(plain, whole.index(b"tkhd"))
    path.write_bytes(whole[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000) + whole[at + 36 :])
    return path


@pytest.mark.parametrize("how", TURNS)
def test_a_clip_is_shown_as_its_display_matrix_turns_it(tmp_path: Path, how: str) -> None:
    signs, expected = TURNS[how]
    write_mp4(np.stack([quarters()] * 2), 8, tmp_path / "input.mp4")
    clip = open_input("input", turned(tmp_path / "input.mp4", signs), 64)
    frame, meant = clip.frames(1, 8)[0].astype(int), expected(quarters()).astype(int)
    assert clip.size == meant.shape[:2]
    for y, x in ((8, 8), (8, -8), (-8, 8), (-8, -8)):
        assert np.abs(frame[y, x] - meant[y, x]).max() <= 12


def test_a_clip_at_a_slant_is_refused(tmp_path: Path) -> None:
    write_mp4(np.stack([quarters()] * 2), 8, tmp_path / "input.mp4")
    with pytest.raises(ShapeError, match="angle that is not a right one"):
        shown(turned(tmp_path / "input.mp4", (1, 1, -1, 1)))


@pytest.mark.parametrize(("transfer", "what"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_hdr_is_refused_in_a_sentence(tmp_path: Path, transfer: int, what: str, pix_fmt: str) -> None:
    path = h264(tmp_path, [quarters()] * 2, pix_fmt, color_trc=transfer, color_primaries=9, colorspace=9)
    with pytest.raises(ShapeError, match=rf"HDR \({what}\), and only SDR is supported. Convert it"):
        shown(path)


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    clip = open_input("input", h264(tmp_path, [quarters(32, 36)], sample_aspect_ratio=Fraction(4, 3)), 64)
    frame = clip.frames(1, 8)[0].astype(int)
    assert (clip.size, frame.shape) == ((32, 48), (32, 48, 3))
    assert np.abs(frame[8, 8] - RED).max() <= 12
    assert np.abs(frame[8, 40] - BLUE).max() <= 12


def test_pixels_so_wide_that_the_clip_outgrows_the_model_are_refused(tmp_path: Path) -> None:
    path = h264(tmp_path, [quarters(32, 36)], sample_aspect_ratio=Fraction(3, 1))
    with pytest.raises(ShapeError, match="108x32 and this model's clips are at most 64"):
        shown(path)


@pytest.mark.parametrize(
    ("colorspace", "color_range"),
    [
        (Colorspace.ITU709, ColorRange.MPEG),
        (Colorspace.ITU709, ColorRange.JPEG),
        (Colorspace.ITU601, ColorRange.JPEG),
    ],
)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv422p10le"])
def test_colours_are_those_that_the_file_tells(
    tmp_path: Path, pix_fmt: str, colorspace: Colorspace, color_range: ColorRange
) -> None:
    code = {Colorspace.ITU709: 1, Colorspace.ITU601: 6}[colorspace]
    path = h264(tmp_path, [quarters()], pix_fmt, colorspace=code, color_range=int(color_range))
    frame = shown(path)[0].astype(int)
    assert np.abs(frame[8, 8] - RED).max() <= 12
    assert np.abs(frame[24, 8] - GREEN).max() <= 12
    assert np.abs(frame[24, 40] - WHITE).max() <= 6


def test_an_interlaced_clip_is_refused(tmp_path: Path) -> None:
    path = h264(tmp_path, [quarters()] * 4, options={"flags": "+ildct+ilme", "x264-params": "interlaced=1"})
    with pytest.raises(ShapeError, match=r"interlaced. Deinterlace it first"):
        shown(path)


def test_a_transparent_clip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "input.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.metadata["alpha_mode"] = "1"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(ShapeError, match=r"transparent in places.*Flatten it"):
        shown(path)


def test_a_clip_that_shows_a_part_of_its_frames_is_refused(tmp_path: Path) -> None:
    path = h264(tmp_path, [quarters()])
    aperture = struct.pack(">I4s8i", 40, b"clap", 20, 1, 20, 1, 0, 1, 0, 1)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"avc1", whole.index(b"stsd")) - 4
    end = at + int.from_bytes(whole[at : at + 4], "big")
    whole[end:end] = aperture
    sizes = [at, *(whole.index(kind) - 4 for kind in (b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"))]
    for start in sizes:
        whole[start : start + 4] = struct.pack(">I", int.from_bytes(whole[start : start + 4], "big") + len(aperture))
    path.write_bytes(whole)
    with pytest.raises(ShapeError, match=r"clean aperture.*Crop it first"):
        shown(path)


def test_a_sound_alone_is_refused_as_one(tmp_path: Path) -> None:
    path = tmp_path / "input.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ShapeError, match="has no video"):
        shown(path)


def test_a_codec_that_is_not_allowed_is_never_tried(tmp_path: Path) -> None:
    path = h264(tmp_path, [quarters()] * 2, "yuvj420p", codec="mjpeg", color_range=2)
    with pytest.raises(ShapeError, match=r"unsupported codec. Use H.264"):
        shown(path)


def test_a_webm_cut_off_is_refused_and_not_taken_for_a_short_clip(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 48, 3), np.uint8)
    path = h264(tmp_path, noise, name="input.webm", codec="libvpx")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ShapeError, match="damaged or cut off"):
        open_input("input", path, 64).frames(99, 8, last=True)


def test_frames_of_uneven_length_are_shown_for_as_long_as_they_last(tmp_path: Path) -> None:
    path = tmp_path / "input.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 8)
        for shade, at in ((40, 0), (120, 1), (200, 5)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    levels = [round(float(frame.mean()) / 40) * 40 for frame in open_input("input", path, 64).frames(6, 8)]
    assert levels == [40, 120, 120, 120, 120, 200]


def grown(folder: Path) -> Path:
    """A WebM of 64 x 64 whose second frame says that it is 12000 x 12000."""
    path = folder / "input.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=8)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 64, 64, "yuv420p", 1
        packets = []
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 8)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            content = bytearray(bytes(packet))
            if number:
                content[6:10] = struct.pack("<HH", 12000, 12000)
            made = av.Packet(bytes(content))
            made.stream, made.pts, made.dts, made.time_base = stream, packet.pts, packet.dts, packet.time_base
            made.is_keyframe = True
            container.mux(made)
    return path


def test_a_small_file_whose_frames_grow_costs_little_and_is_told_why(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(grown(tmp_path))], capture_output=True, text=True, check=True, timeout=120
    )
    kib, said = json.loads(done.stdout)
    assert kib < 100 * 1024, f"{kib // 1024} MiB were taken to find out: {said}"
    assert "12000x12000 and this model's clips are at most 64" in said

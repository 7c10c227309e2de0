"""What is written for people is decoded back and held against the pixels."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kinema_jobs.clip import media
from kinema_model.errors import ShapeError
from kinema_world import World


def _clip(frames: int = 8, side: int = 24, fps: int = 8) -> media.Video:
    return World.fixed(3, frames, side, side, fps).sample(1).video


def _decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


@pytest.mark.parametrize(("frames", "fps"), [(8, 8.0), (1, 8.0), (5, 24.0), (30, 30000 / 1001)])
def test_a_clip_keeps_its_frames_rate_length_and_size(tmp_path: Path, frames: int, fps: float) -> None:
    path = tmp_path / "clip.mp4"
    media.write_mp4(_clip(frames), fps, path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.codec.name) == (24, 24, "h264")
        assert stream.average_rate == Fraction(fps).limit_denominator(1001)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.start_time == 0
        assert container.duration == pytest.approx(frames / fps * av.time_base, abs=av.time_base / 1000)
        times = [float(f.pts * f.time_base) for f in container.decode(video=0)]
    assert times == pytest.approx([i / fps for i in range(frames)], abs=1e-3)


def test_a_clip_plays_while_it_downloads(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    media.write_mp4(_clip(), 8, path)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_colours_survive(tmp_path: Path) -> None:
    bars = np.zeros((4, 48, 96, 3), dtype=np.uint8)
    colours = np.array([(235, 40, 40), (40, 210, 60), (50, 80, 245), (245, 245, 245)])
    for index, colour in enumerate(colours):
        bars[:, :, 24 * index : 24 * (index + 1)] = colour
    path = tmp_path / "bars.mp4"
    media.write_mp4(bars, 8, path)
    middles = _decode(path)[:, 24, 12::24].astype(int)
    assert np.abs(middles - colours).max() <= 6
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited


def test_small_clips_stay_sharp(tmp_path: Path) -> None:
    clip, path = _clip(), tmp_path / "clip.mp4"
    media.write_mp4(clip, 8, path)
    assert np.abs(_decode(path).astype(int) - clip).mean() < 4


def test_the_same_pixels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        media.write_mp4(_clip(), 8, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("shape", "fps", "remedy"),
    [
        ((2, 25, 24, 3), 8, "even width and height"),
        ((2, 24, 8, 3), 8, "at least 16x16"),
        ((0, 24, 24, 3), 8, "give uint8"),
        ((2, 24, 24, 4), 8, "give uint8"),
        ((2, 24, 24, 3), 0, "more than 0"),
        ((2, 24, 24, 3), 1000, "at most 240"),
    ],
)
def test_what_cannot_be_encoded_is_refused(tmp_path: Path, shape: tuple[int, ...], fps: float, remedy: str) -> None:
    with pytest.raises(ShapeError, match=remedy):
        media.write_mp4(np.zeros(shape, dtype=np.uint8), fps, tmp_path / "clip.mp4")


def test_the_thumbnail_is_the_middle_frame_with_sharp_pixels() -> None:
    clip = _clip()
    still = Image.open(io.BytesIO(media.thumbnail(clip))).convert("RGB")
    assert (still.format, still.size) == (None, (264, 264))
    assert np.array_equal(np.asarray(still)[5::11, 5::11], clip[4])


def test_the_contact_sheet_shows_every_frame_in_order() -> None:
    clip = _clip(frames=7)
    sheet = np.asarray(Image.open(io.BytesIO(media.contact_sheet(clip))).convert("RGB"))
    tile = 96 + media.SHEET_GAP
    for index, frame in enumerate(clip):
        row, column = divmod(index, 3)
        top, left = row * tile + media.SHEET_GAP, column * tile + media.SHEET_GAP
        assert np.array_equal(sheet[top + 2 : top + 96 : 4, left + 2 : left + 96 : 4], frame)


@pytest.mark.parametrize("shape", [(480, 24, 24), (1, 24, 48), (90, 480, 832), (3, 16, 1600)])
def test_a_contact_sheet_fits_whatever_the_clip(shape: tuple[int, int, int]) -> None:
    frame = np.zeros((1, *shape[1:], 3), dtype=np.uint8)
    clip = np.broadcast_to(frame, (*shape, 3))
    size = Image.open(io.BytesIO(media.contact_sheet(clip))).size
    assert max(size) <= media.SHEET_SIDE


def test_everything_is_written_with_what_was_asked_for(tmp_path: Path) -> None:
    written = media.write_artefacts(_clip(), 8, tmp_path, {"prompt": "a \u2028 {hostile} <prompt>", "seed": 1})
    assert [p.name for p in written] == ["video.mp4", "thumbnail.webp", "spritesheet.webp", "request.json"]
    record = json.loads(written[3].read_text())
    assert record["prompt"] == "a \u2028 {hostile} <prompt>"
    assert {"torch", "av", "numpy", "pillow"} <= record["versions"].keys()


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (1280, 720), (16, 256), (256, 16), (24, 24), (1080, 1920)])
def test_a_still_is_small_whatever_the_clip_is(height: int, width: int) -> None:
    still = Image.open(io.BytesIO(media.thumbnail(np.zeros((1, height, width, 3), np.uint8))))
    assert max(still.size) <= 512
    assert abs(still.width / still.height - width / height) < 0.02 * width / height

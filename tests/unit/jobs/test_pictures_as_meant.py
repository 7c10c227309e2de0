"""A picture or a mask is taken as a person sees it: upright, at its depth, without what transparency hides."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kinema_jobs.clip.inputs import Work, open_input
from kinema_jobs.clip.media import Video, write_mp4
from kinema_model.conditions.tasks import Task
from kinema_model.errors import ShapeError

pytestmark = pytest.mark.slow


ORIENTATION = 0x0112
RED, BLUE, GREEN, WHITE = (220, 20, 20), (20, 20, 220), (20, 220, 20), (255, 255, 255)
UNTURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that was held so stores an upright picture: the inverse of what the orientation asks for."""


def quarters() -> Image.Image:
    """24 wide, 16 high, another colour in three of its quarters."""
    pixels = np.full((16, 24, 3), 255, np.uint8)
    pixels[:8, :12], pixels[:8, 12:], pixels[8:, :12] = RED, BLUE, GREEN
    return Image.fromarray(pixels)


def shown(path: Path) -> Video:
    return open_input("input", path, 64).frames(1, 8)[0]


def saved(folder: Path, image: Image.Image, name: str = "input.png", **how: Any) -> Path:
    image.save(folder / name, **how)
    return folder / name


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_is_shown_upright_however_the_camera_was_held(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    how = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path, quarters().transpose(UNTURN[orientation]), f"held.{suffix}", exif=exif, **how)
    clip = open_input("input", path, 64)
    frame = clip.frames(1, 8)[0]
    assert (clip.size, frame.shape) == ((16, 24), (16, 24, 3))
    assert np.abs(frame.astype(int) - np.asarray(quarters()).astype(int)).max() <= 12


def test_sixteen_bits_of_grey_keep_their_shades(tmp_path: Path) -> None:
    shades = np.tile(np.linspace(0, 65535, 24).astype(np.uint16), (16, 1))
    frame = shown(saved(tmp_path, Image.fromarray(shades)))
    assert np.array_equal(frame[..., 0], shades >> 8)


def test_a_mask_of_sixteen_bits_marks_what_is_white_and_no_more(tmp_path: Path) -> None:
    drawn = np.full((24, 24), 300, np.uint16)
    drawn[4:10, 6:20] = 65535
    marked = _marked(tmp_path, Image.fromarray(drawn))
    assert int(marked.sum()) == 6 * 14


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_what_transparency_hides_is_not_shown(tmp_path: Path, mode: str) -> None:
    hidden = np.full((16, 24), 77, np.uint8)
    hidden[:, 12:] = 200
    grey = Image.fromarray(hidden)
    how: dict[str, Any] = {}
    if mode in ("RGBA", "LA"):
        picture = grey.convert(mode)
        picture.putalpha(Image.fromarray(np.where(hidden == 200, 0, 255).astype(np.uint8)))
    else:
        picture = grey.convert("RGB").quantize(4) if mode == "P" else grey.convert(mode)
        index = picture.getpixel((20, 4))
        how = {"transparency": index}
    frame = shown(saved(tmp_path, picture, **how))
    assert (frame[:, :12] == 77).all()
    assert (frame[:, 12:] == 255).all()


def test_half_transparent_colours_are_mixed_with_white(tmp_path: Path) -> None:
    frame = shown(saved(tmp_path, Image.new("RGBA", (24, 16), (0, 0, 0, 128))))
    assert (np.abs(frame.astype(int) - 127) <= 1).all()


def test_a_colour_named_as_transparent_in_sixteen_bits_is_found(tmp_path: Path) -> None:
    shades = np.full((16, 24), 40_000, np.uint16)
    shades[:, 12:] = 200
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in shades)
    frame = shown(_png(tmp_path, (24, 16, 16, 0), (b"tRNS", struct.pack(">H", 200)), (b"IDAT", zlib.compress(rows))))
    assert (frame[:, :12] == 40_000 >> 8).all()
    assert (frame[:, 12:] == 255).all()


def test_a_print_in_four_inks_is_shown_in_its_colours(tmp_path: Path) -> None:
    frame = shown(saved(tmp_path, Image.new("RGB", (24, 16), RED).convert("CMYK"), "input.jpg", quality=100))
    assert np.abs(frame.astype(int) - RED).max() <= 8


def test_a_still_avif_is_a_picture(tmp_path: Path) -> None:
    clip = open_input("input", saved(tmp_path, quarters(), "x.avif", quality=100), 64)
    frames = clip.frames(5, 8)
    assert frames.shape == (1, 16, 24, 3)
    assert np.abs(frames[0, 4, 4].astype(int) - RED).max() <= 24


@pytest.mark.parametrize("name", ["moving.webp", "moving.png", "moving.avif"])
def test_an_animated_picture_is_refused_as_one(tmp_path: Path, name: str) -> None:
    more = [Image.new("RGB", (24, 16), BLUE)]
    with pytest.raises(ShapeError, match="animated picture"):
        shown(saved(tmp_path, quarters(), name, save_all=True, append_images=more))


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"GIF89a", "GIF"),
        (b"BM6\0\0\0", "BMP"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"\xff\x0a", "JPEG XL"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
    ],
)
def test_a_kind_that_is_not_read_is_refused_by_its_name(tmp_path: Path, head: bytes, what: str) -> None:
    (tmp_path / "input").write_bytes(head + bytes(600))
    with pytest.raises(ShapeError, match=rf"The input is an? {what}.* not supported"):
        shown(tmp_path / "input")


@pytest.mark.parametrize(("transfer", "what"), [(16, "PQ"), (18, "HLG")])
def test_a_png_in_hdr_is_refused(tmp_path: Path, transfer: int, what: str) -> None:
    rows = zlib.compress((b"\0" + bytes(72)) * 16)
    path = _png(tmp_path, (24, 16, 8, 2), (b"cICP", bytes([9, transfer, 0, 1])), (b"IDAT", rows))
    with pytest.raises(ShapeError, match=rf"HDR \({what}\), and only SDR is supported"):
        shown(path)


def test_a_picture_cut_off_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), "input.jpg")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ShapeError, match="The input cannot be read"):
        shown(path)


def test_a_hole_in_a_black_mask_is_what_is_made_anew(tmp_path: Path) -> None:
    marked = _marked(tmp_path, _holed((0, 0, 0)))
    assert int(marked.sum()) == 6 * 14
    assert bool(marked[5, 7])


@pytest.mark.parametrize("colour", [WHITE, RED])
def test_a_hole_that_may_mean_either_is_refused_and_never_marks_everything(tmp_path: Path, colour: Any) -> None:
    with pytest.raises(ShapeError, match=r"transparent in places.*Save it without transparency"):
        _marked(tmp_path, _holed(colour))


def _holed(colour: tuple[int, int, int]) -> Image.Image:
    mask = np.full((24, 24, 4), (*colour, 255), np.uint8)
    mask[4:10, 6:20, 3] = 0
    return Image.fromarray(mask)


def _marked(folder: Path, mask: Image.Image) -> Any:
    write_mp4(np.full((8, 24, 24, 3), 90, np.uint8), 8, folder / "clip.mp4")
    clip = open_input("input", folder / "clip.mp4", 64)
    painted = open_input("mask", saved(folder, mask, "mask.png"), 64)
    made = Work(Task.INPAINT, {"input": clip, "mask": painted}).task_inputs(8, 24, 24, 8.0).mask
    assert made is not None
    return made[0]


def _png(folder: Path, head: tuple[int, int, int, int], *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG of (width, height, bits, colour type) with these chunks."""
    path = folder / "input.png"
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *head, 0, 0, 0)), *chunks, (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path

"""Clips, pictures and masks are read as they are on the screen; what is hostile or does not fit is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kinema_api.inputs import Region
from kinema_jobs.clip.inputs import InputClip, Name, Work, open_input
from kinema_jobs.clip.media import Video, write_mp4
from kinema_model.conditions.tasks import Task
from kinema_model.errors import ModelError, ShapeError

pytestmark = pytest.mark.slow


SHAPE = (8, 24, 24, 8.0)
SHADES = np.linspace(20, 230, 8)


def shaded(frames: int = 8, side: int = 24) -> Video:
    """Every frame one grey, brighter than the one before."""
    return np.stack([np.full((side, side, 3), SHADES[n % 8], np.uint8) for n in range(frames)])


def mp4(folder: Path, video: Video | None = None, fps: float = 8, name: str = "clip.mp4") -> Path:
    path = folder / name
    write_mp4(shaded() if video is None else video, fps, path)
    return path


def picture(folder: Path, pixels: Any, name: str = "still.png") -> Path:
    path = folder / name
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def levels(video: Video) -> list[float]:
    return [float(frame.mean()) for frame in video]


def test_the_first_and_the_last_frames_of_a_clip(tmp_path: Path) -> None:
    clip = open_input("input", mp4(tmp_path), 64)
    assert clip.size == (24, 24)
    assert levels(clip.frames(3, 8)) == pytest.approx(SHADES[:3], abs=3)
    assert levels(clip.frames(3, 8, last=True)) == pytest.approx(SHADES[-3:], abs=3)
    assert len(clip.frames(99, 8)) == 8


def test_a_clip_of_another_rate_is_shown_at_this_one(tmp_path: Path) -> None:
    fast = open_input("input", mp4(tmp_path, np.repeat(shaded(), 3, axis=0), fps=24), 64)
    assert levels(fast.frames(8, 8)) == pytest.approx(SHADES, abs=3)
    slow = open_input("input", mp4(tmp_path, shaded()[::2], fps=4, name="slow.mp4"), 64)
    assert levels(slow.frames(8, 8)) == pytest.approx(np.repeat(SHADES[::2], 2), abs=3)


@pytest.mark.parametrize("name", ["still.png", "still.jpg", "still.webp"])
def test_a_picture_is_one_frame(tmp_path: Path, name: str) -> None:
    frames = open_input("input", picture(tmp_path, shaded()[3], name), 64).frames(5, 8)
    assert frames.shape == (1, 24, 24, 3)
    assert levels(frames) == pytest.approx([SHADES[3]], abs=2)


def _truncated(folder: Path) -> Path:
    path = mp4(folder)
    path.write_bytes(path.read_bytes()[:200])
    return path


def _text(content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "input").write_text(content)
        return folder / "input"

    return write


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), "Give an MP4, a WebM, a PNG, a JPEG, a WebP or an AVIF"),
        (_text("ffconcat version 1.0\nfile /etc/passwd\n"), "Give an MP4"),
        (_text("<svg xmlns='http://www.w3.org/2000/svg'/>"), "Give an MP4"),
        (_text(""), "Give an MP4"),
        (_truncated, "The input cannot be read"),
        (lambda folder: mp4(folder, shaded(side=128)), "128x128 and this model's clips are at most 64. Scale it down"),
        (lambda folder: picture(folder, np.zeros((8, 4000, 3))), "4000x8 and this model's"),
    ],
)
def test_what_cannot_be_used_is_refused_before_it_is_decoded(
    tmp_path: Path, make: Callable[[Path], Path], sentence: str
) -> None:
    with pytest.raises(ShapeError, match=sentence):
        open_input("input", make(tmp_path), 64)


def test_a_broken_clip_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = mp4(tmp_path)
    whole = path.read_bytes()
    media = whole.index(b"mdat") + 4
    path.write_bytes(whole[:media] + bytes(len(whole) - media))
    with pytest.raises(ShapeError, match="The input cannot be read"):
        open_input("input", path, 64).frames(8, 8)


def work(task: Task, folder: Path, *names: Name, **fields: Any) -> Work:
    paths = {name: mp4(folder, name=f"{name}.mp4") for name in names if name != "mask"}
    clips: dict[Name, InputClip] = {name: open_input(name, path, 64) for name, path in paths.items()}
    return Work(task, clips, **fields)


def test_an_extended_clip_begins_with_the_last_of_its_input(tmp_path: Path) -> None:
    (start,) = work(Task.EXTEND, tmp_path, "input").task_inputs(*SHAPE).segments
    assert (start.at, start.video.shape) == (0, (3, 4, 24, 24))
    assert float(start.video[:, -1].mean()) == pytest.approx(SHADES[-1] / 127.5 - 1, abs=0.03)
    (fewer,) = work(Task.EXTEND, tmp_path, "input", input_seconds=0.25).task_inputs(*SHAPE).segments
    assert fewer.video.shape[1] == 2
    (before,) = work(Task.EXTEND_BACK, tmp_path, "input").task_inputs(*SHAPE).segments
    assert before.at == 4
    assert float(before.video[:, 0].mean()) == pytest.approx(SHADES[0] / 127.5 - 1, abs=0.03)


def test_a_filled_clip_leads_from_the_last_frame_to_the_first(tmp_path: Path) -> None:
    first, last = work(Task.FILL, tmp_path, "input", "end").task_inputs(*SHAPE).segments
    assert (first.at, last.at, first.video.shape[1], last.video.shape[1]) == (0, 7, 1, 1)
    assert float(first.video.mean()) > float(last.video.mean())


def test_a_mask_is_white_where_the_clip_is_made(tmp_path: Path) -> None:
    drawn = np.zeros((24, 24))
    drawn[4:10, 6:20] = 255
    clip = open_input("input", mp4(tmp_path), 64)
    mask = open_input("mask", picture(tmp_path, drawn), 64)
    by_picture = Work(Task.INPAINT, {"input": clip, "mask": mask}).task_inputs(*SHAPE).mask
    by_region = (
        Work(Task.INPAINT, {"input": clip}, region=Region(left=6, top=4, width=14, height=6)).task_inputs(*SHAPE).mask
    )
    assert by_picture is not None
    assert by_region is not None
    assert torch.equal(by_picture, by_region)
    assert int(by_picture.sum()) == 8 * 6 * 14


def _with_mask(folder: Path, pixels: Any) -> Work:
    clip = open_input("input", mp4(folder), 64)
    return Work(Task.INPAINT, {"input": clip, "mask": open_input("mask", picture(folder, pixels), 64)})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda f: work(Task.EXTEND, f), "needs a clip or an image. Set input"),
        (
            lambda f: work(Task.EXTEND, f, "input", input_seconds=1.0),
            "8 of 8 frames would be taken from the input and none generated",
        ),
        (lambda f: work(Task.FILL, f, "input"), "Give the second one too"),
        (lambda f: work(Task.INPAINT, f, "input"), "needs a mask"),
        (lambda f: _with_mask(f, np.zeros((24, 24))), "The mask has no white pixel. Paint white"),
        (lambda f: _with_mask(f, np.full((16, 16), 255)), "The mask is 16x16 and the clip 24x24"),
        (
            lambda f: work(Task.INPAINT, f, "input", region=Region(left=20, top=0, width=8, height=8)),
            "ends at 28x8, outside the clip of 24x24. Move or shrink it",
        ),
    ],
)
def test_what_does_not_fit_the_task_is_refused(tmp_path: Path, make: Callable[[Path], Work], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        make(tmp_path).task_inputs(*SHAPE)


def test_a_clip_shorter_than_what_is_asked_for_is_refused(tmp_path: Path) -> None:
    clip = open_input("input", mp4(tmp_path, shaded(4)), 64)
    with pytest.raises(ShapeError, match=r"The input lasts 0.5 seconds and the clip 1. Request at most that"):
        Work(Task.EDIT, {"input": clip}).task_inputs(*SHAPE)


def test_a_mask_that_is_a_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"The mask is a clip\. Give a PNG"):
        open_input("mask", mp4(tmp_path), 64)


def test_a_bomb_of_a_picture_is_refused(tmp_path: Path) -> None:
    path, out = tmp_path / "bomb.png", io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(out, "PNG")
    path.write_bytes(out.getvalue())
    with pytest.raises(ShapeError, match="30000x30000 and this model's clips are at most 64"):
        open_input("input", path, 64)

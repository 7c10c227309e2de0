"""A bad request ends in one sentence that names the file or field, and leaves nothing behind.

What is not wrong although it looks so, such as words of any script, is rendered.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from kinema_jobs.clip import rendering
from kinema_jobs.clip.media import write_mp4
from kinema_model.conditions.tasks import Task
from unit.jobs.doors import BAD_REQUEST, NO_MODEL, PROMPT, Door, cut, folder, written

pytestmark = pytest.mark.slow


Make = Callable[[Path], Path]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": "33x47"}, ["33x47", "even width and height"]),
        ({"size": "34x48"}, ["34x48", "multiples of 8"]),
        ({"size": "8x8"}, ["8x8", "at least 16x16"]),
        ({"size": "9999x9999"}, ["9999x9999"]),
        ({"size": "9992x9992"}, ["9992x9992", "up to 64 pixels"]),
        ({"size": "24"}, ["WIDTHxHEIGHT"]),
        ({"seconds": 1250}, ["seconds: ", "less than or equal to 60"]),
        ({"seconds": 60}, ["60 seconds", "at most 8"]),
        ({"seconds": "nan"}, ["seconds: ", "less than or equal to 60"]),
        ({"seconds": -1}, ["seconds: ", "greater than 0"]),
        ({"seconds": 0.01}, ["0.01 seconds", "request at least 0.25"]),
        ({"fps": 7}, ["fps 7", "trained at 8"]),
        ({"fps": 0}, ["fps: ", "greater than or equal to 1"]),
        ({"fps": 61}, ["fps: ", "less than or equal to 60"]),
        ({"steps": 0}, ["steps: ", "greater than or equal to 1"]),
        ({"seed": -1}, ["seed: ", "greater than or equal to 0"]),
        ({"guidance_scale": "nan"}, ["guidanceScale: ", "less than or equal to 30"]),
        ({"strength": "inf"}, ["strength: ", "less than or equal to 1"]),
        ({"strength": 0.5}, ["'text' takes no strength"]),
        ({"shot": "1:a blue circle"}, ["not trained for streaming"]),
        ({"shot": "a blue circle"}, ["--shot is SECONDS:PROMPT"]),
        ({"shot": "1:\u200b"}, ["--shot", "the prompt is blank"]),
        ({"shot": "1:\ud800"}, ["--shot", "prompt"]),
        ({"prompt": ""}, ["prompt: ", "at least 1 character"]),
        ({"prompt": " \t\u3000"}, ["the prompt is blank: describe the clip"]),
        ({"prompt": "\u200b\u2060\u200e\0"}, ["the prompt is blank: describe the clip"]),
        ({"prompt": "x" * 50_000}, ["prompt: ", "at most 4096 characters"]),
        ({"prompt": "\u4e00" * 50_000}, ["prompt: ", "at most 4096 characters"]),
        ({"prompt": "a red \ud800 square"}, ["prompt: ", "valid string"]),
        ({"negative_prompt": "\udfff"}, ["negativePrompt: ", "valid string"]),
        ({"negative_prompt": "x" * 50_000}, ["negativePrompt: ", "at most 4096 characters"]),
    ],
)
def test_a_request_that_cannot_be_rendered(
    door: Door, text_model: Path, options: dict[str, Any], words: list[str]
) -> None:
    door.refused(door.generate(text_model, **options), BAD_REQUEST, *words)


@pytest.mark.parametrize(
    "prompt",
    [
        "مربع أحمر يتحرك إلى اليمين",
        "一个红色的方块向右移动" * 372,
        "\U0001f7e5➡️ \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "a red\u200b square\u200d moves\u2060 right",
        "\u202ea red square\u202c moves \u200fright",
        "a red square\0 moves right",
        "-a red square; $(touch x)\n\r\x1b[2J",
        "z\u0335\u0321" * 1000,
    ],
)
def test_words_of_any_script_are_rendered(door: Door, text_model: Path, prompt: str) -> None:
    code, event = door.generate(text_model, prompt=prompt, seconds=0.25)
    assert (code, event["event"]) == (0, "generated")
    assert json.loads(Path(event["request"]).read_text())["prompt"] == prompt


def shades(frames: int = 8, side: int = 24) -> Any:
    grey = np.linspace(20, 230, frames)[:, None, None, None]
    return np.broadcast_to(grey, (frames, side, side, 3)).astype(np.uint8)


def clip(path: Path, side: int = 24) -> Path:
    write_mp4(shades(side=side), 8, path)
    return path


def picture(path: Path, pixels: Any) -> Path:
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def film(path: Path) -> Path:
    """An animated WebP."""
    first, *others = (Image.fromarray(frame) for frame in shades(3))
    first.save(path, save_all=True, append_images=others)
    return path


def noise(path: Path) -> Path:
    return picture(path, np.random.default_rng(0).integers(0, 255, (24, 24, 3)))


def unknown_codec(path: Path) -> Path:
    return written(path, clip(path).read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))


def shown_for_years(path: Path) -> Path:
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=8)
        stream.height = stream.width = 24
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 8)
        for moment in (0, 1, 200_000):
            frame = av.VideoFrame.from_ndarray(shades(1)[0], format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 8)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


INPUTS: dict[str, tuple[Make, list[str]]] = {
    "missing": (lambda f: f / "none.mp4", ["The input cannot be read", "No such file"]),
    "folder": (lambda f: folder(f / "a.mp4"), ["The input cannot be read", "directory"]),
    "empty": (lambda f: written(f / "a.mp4", b""), ["The input cannot be read"]),
    "text": (lambda f: written(f / "a.mp4", b"not a film"), ["The input cannot be read", "Give an MP4"]),
    "torn picture": (lambda f: cut(noise(f / "a.png"), 0.6), ["The input cannot be read"]),
    "torn photo": (lambda f: cut(noise(f / "a.webp"), 0.6), ["The input cannot be read"]),
    "film as a picture": (lambda f: film(f / "a.webp"), ["The input is an animated picture"]),
    "unknown codec": (lambda f: unknown_codec(f / "a.mp4"), ["The input has an unsupported codec"]),
    "shown for years": (lambda f: shown_for_years(f / "a.mp4"), ["The input cannot be read", "too long"]),
    "too large": (lambda f: clip(f / "a.mp4", 80), ["The input is 80x80", "at most 64"]),
    "other size": (lambda f: clip(f / "a.mp4", 32), ["The input is 32x32 and the clip 24x24"]),
}


@pytest.mark.parametrize("case", INPUTS)
def test_an_input_that_cannot_be_used(door: Door, every_model: Path, tmp_path: Path, case: str) -> None:
    make, words = INPUTS[case]
    answer = door.generate(every_model, task="extend", input=make(tmp_path), size="24x24")
    door.refused(answer, BAD_REQUEST, *words)


MASKS: dict[str, tuple[Make, list[str]]] = {
    "missing": (lambda f: f / "none.png", ["The mask cannot be read", "No such file"]),
    "other size": (lambda f: picture(f / "m.png", np.full((32, 32), 255)), ["The mask is 32x32 and the clip 24x24"]),
    "a clip": (lambda f: clip(f / "m.mp4"), ["The mask is a clip"]),
    "several pictures": (lambda f: film(f / "m.webp"), ["The mask is an animated picture"]),
    "all black": (lambda f: picture(f / "m.png", np.zeros((24, 24))), ["The mask has no white pixel"]),
    "grey": (lambda f: picture(f / "m.png", np.full((24, 24), 130)), ["The mask is not black and white", "100%"]),
    "a photo": (lambda f: noise(f / "m.png"), ["The mask is not black and white"]),
    "no picture": (lambda f: written(f / "m.png", b"\x89PNG\r\n\x1a\n"), ["The mask cannot be read"]),
    "torn": (lambda f: cut(noise(f / "m.png"), 0.5), ["The mask cannot be read"]),
    "a bomb": (lambda f: bomb(f / "m.png"), ["The mask is 30000x30000"]),
}


def bomb(path: Path) -> Path:
    Image.new("1", (30_000, 30_000)).save(path)
    return path


@pytest.mark.parametrize("case", MASKS)
def test_a_mask_that_cannot_be_used(door: Door, every_model: Path, tmp_path: Path, case: str) -> None:
    make, words = MASKS[case]
    answer = door.generate(every_model, task="inpaint", input=clip(tmp_path / "a.mp4"), mask=make(tmp_path))
    door.refused(answer, BAD_REQUEST, *words)


def test_a_mask_with_soft_edges_is_a_mask(door: Door, every_model: Path, tmp_path: Path) -> None:
    drawn = np.zeros((24, 24))
    drawn[6:18, 6:18], drawn[8:16, 8:16] = 128, 255
    mask = picture(tmp_path / "m.jpg", drawn)
    code, event = door.generate(every_model, task="inpaint", input=clip(tmp_path / "a.mp4"), mask=mask)
    assert code == 0, event


@pytest.mark.parametrize("task", [task.value for task in Task if task not in (Task.TEXT, Task.EDIT)])
def test_a_task_that_was_not_trained(door: Door, text_model: Path, tmp_path: Path, task: str) -> None:
    files = {} if task == "picture" else {"input": clip(tmp_path / "a.mp4")}
    if task in ("image", "loop"):
        files = {"input": picture(tmp_path / "a.png", shades()[0])}
    if task in ("fill", "blend"):
        files["end"] = files["input"]
    if task == "inpaint":
        files["mask"] = picture(tmp_path / "m.png", np.full((24, 24), 255))
    door.refused(door.generate(text_model, task=task, **files), BAD_REQUEST, f"not trained for '{task}'", "text")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "text", "input": "a.mp4"}, ["'text' takes no input"]),
        ({"task": "picture", "input": "a.png"}, ["'picture' takes no input"]),
        ({"task": "extend"}, ["'extend'", "Set input"]),
        ({"task": "extend", "input": "a.mp4", "end": "a.mp4"}, ["takes no end"]),
        ({"task": "extend", "input": "a.mp4", "mask": "a.png"}, ["'extend' takes no mask"]),
        ({"task": "extend", "input": "a.mp4", "strength": 0.5}, ["'extend' takes no strength"]),
        ({"task": "extend", "input": "a.mp4", "shot": f"1:{PROMPT}"}, ["for streaming"]),
        ({"task": "extend", "input": "a.mp4", "input_seconds": "nan"}, ["inputSeconds: ", "less than or equal to 60"]),
        ({"task": "extend", "input": "a.mp4", "input_seconds": "inf"}, ["inputSeconds: ", "less than or equal to 60"]),
        ({"task": "extend", "input": "a.mp4", "input_seconds": -1}, ["inputSeconds: ", "greater than 0"]),
        ({"task": "edit", "input": "a.mp4", "input_seconds": 1}, ["'edit' takes no inputSeconds"]),
        ({"task": "fill", "input": "a.mp4"}, ["'fill'", "Give the second one too"]),
        ({"task": "fill", "input": "a.mp4", "end": "large.png"}, ["The end is 32x32 and the clip 24x24"]),
        ({"task": "inpaint", "input": "a.mp4"}, ["needs a mask"]),
        ({"task": "edit", "input": "a.mp4", "seconds": 2}, ["The input lasts 1 seconds and the clip 2"]),
        ({"task": "image", "input": "a.mp4", "seconds": 0.01}, ["'image' has one input frame"]),
        ({"task": "loop", "input": "a.mp4", "seconds": 0.01}, ["'loop' has one input frame"]),
        ({"task": "extend", "input": "a.mp4", "seconds": 0.01}, ["'extend' has one input frame"]),
        ({"task": "fill", "input": "a.mp4", "end": "a.png", "seconds": 0.01}, ["'fill' has one input frame"]),
    ],
)
def test_what_a_task_lacks_or_has_no_use_for(
    door: Door, every_model: Path, tmp_path: Path, options: dict[str, Any], words: list[str]
) -> None:
    clip(tmp_path / "a.mp4")
    picture(tmp_path / "a.png", shades()[0])
    picture(tmp_path / "large.png", shades(side=32)[0])
    options = {k: tmp_path / v if k in ("input", "end", "mask") else v for k, v in options.items()}
    door.refused(door.generate(every_model, **options), BAD_REQUEST, *words)


def test_a_model_larger_than_memory_is_not_loaded(door: Door, text_model: Path) -> None:
    door.monkeypatch.setattr(rendering, "total_memory", lambda device: 1000)
    words = [str(text_model), "the weights take", "there are 9.31e-07 GiB on cpu", "spec.serving.resources"]
    door.refused(door.generate(text_model), NO_MODEL, *words)
    door.refused(door.evaluate(text_model), NO_MODEL, *words)


def test_a_clip_larger_than_memory_is_not_begun(door: Door, text_model: Path) -> None:
    door.monkeypatch.setattr(rendering, "total_memory", lambda device: 1 << 20)
    small = door.generate(text_model, seconds=0.25, guidance_scale=1)
    assert small[0] == 0, small
    shutil.rmtree(door.out)
    door.out.mkdir()
    answer = door.generate(text_model, size="64x64", seconds=8)
    door.refused(answer, BAD_REQUEST, "64x64 with 64 frames", "smaller size or fewer seconds")


def test_memory_that_runs_out_on_the_way_is_told(door: Door, text_model: Path) -> None:
    def full(*_given: Any, **_fields: Any) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    door.monkeypatch.setattr("kinema_model.pipeline.Pipeline.generate", full)
    door.refused(door.generate(text_model), NO_MODEL, "does not fit into memory now")

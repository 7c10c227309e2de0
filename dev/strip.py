"""Puts clips side by side into one animated picture, as README shows them.

    kinema generate "a red square moves right" --local out/demo/model --out one.mp4
    python dev/strip.py docs/clips.webp "a red square moves right=one.mp4" ...

Nothing of a clip is changed but its scale: each pixel becomes a square.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

SCALE = 7
GAP = 12
TEXT = 26
BACKGROUND = (255, 255, 255)
INK = (40, 40, 40)


def frames(path: Path) -> tuple[list[Image.Image], float]:
    """The frames of a clip, and how many of them a second has."""
    with av.open(str(path)) as clip:
        rate = float(clip.streams.video[0].average_rate or 8)
        return [frame.to_image() for frame in clip.decode(video=0)], rate


def strip(clips: dict[str, Path]) -> tuple[list[Image.Image], float]:
    """One picture for each frame: all clips in a row, each over its prompt."""
    read = {prompt: frames(path) for prompt, path in clips.items()}
    rates = {rate for _, rate in read.values()}
    if len(rates) != 1:
        raise SystemExit(f"clips of {sorted(rates)} frames a second cannot share a strip: render them at one rate")
    width, height = next(iter(read.values()))[0][0].size
    cell = (width * SCALE + GAP, height * SCALE + TEXT)
    font = ImageFont.load_default(12)
    made = []
    for number in range(min(len(images) for images, _ in read.values())):
        picture = Image.new("RGB", (cell[0] * len(read) - GAP, cell[1]), BACKGROUND)
        draw = ImageDraw.Draw(picture)
        for column, (prompt, (images, _)) in enumerate(read.items()):
            left = column * cell[0]
            picture.paste(images[number].resize((width * SCALE, height * SCALE), Image.Resampling.NEAREST), (left, 0))
            draw.text((left, height * SCALE + 6), prompt, INK, font)
        made.append(picture)
    return made, rates.pop()


def main() -> None:
    """Write the strip."""
    if len(sys.argv) < 3 or any("=" not in given for given in sys.argv[2:]):
        raise SystemExit(__doc__)
    out, *given = sys.argv[1:]
    pictures, rate = strip({prompt: Path(path) for prompt, _, path in (each.partition("=") for each in given)})
    first, *rest = pictures
    first.save(out, save_all=True, append_images=rest, duration=round(1000 / rate), loop=0, lossless=True, method=6)
    print(f"{out}: {len(pictures)} frames, {Path(out).stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()

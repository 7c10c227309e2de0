"""make bench NAME=watermark: how often a watermark is read back, what it costs, and what wrong keys read.

300 windows of 2 s at 480 x 832 are marked, encoded by H.264 at CRF 28 and read; scaled to half and read again; and
encoded once more at half the size. Then curves over size, length, CRF, crop and frame rate, on fewer windows. 100,000
wrong keys are tried on marked tiles. Options: --quick for a rehearsal, --windows N, --curve N (windows of a curve's
point).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.watermark_material import FPS, Video, Window, encoded, resized, windows
from kinema_safety.watermark import reading
from kinema_safety.watermark.convolution import payload_in
from kinema_safety.watermark.embedding import Embedder
from kinema_safety.watermark.grid import capacity
from kinema_safety.watermark.pattern import PatternKey, signs
from kinema_safety.watermark.payload import check, payload_of
from stage.measure import machine, result

HEIGHT, WIDTH, SECONDS, CRF = 480, 832, 2.0, 28
KEY, MAC = PatternKey("bench", b"pattern of bench"), b"the code of bench"
KEYS = [reading.ReadKey(PatternKey("newer", b"a newer pattern."), MAC), reading.ReadKey(KEY, MAC)]
WRONG_KEYS, BATCH = 100_000, 500
COSTED_SECONDS = 5.0

SIZES = ((64, 64), (96, 96), (128, 128), (128, 224), (192, 336), (240, 416), (480, 832), (720, 1280))
LENGTHS = (0.5, 1.0, 1.5, 2.0, 4.0)
CRFS = (18, 23, 28, 32, 36, 40)
CROPS = (1.0, 0.9, 0.8, 0.7, 0.6)
"""Share of each side that is left, the middle shifted by a tenth."""
RATES = (6, 8, 12, 24, 30)
"""Frames per second that the encoded clip is brought to by dropping and repeating."""


def marked(
    window: Window, seconds: float = SECONDS, height: int = HEIGHT, width: int = WIDTH
) -> tuple[Video, int, float]:
    """The window with a payload of its own, that payload, and its lowest PSNR of a frame in dB."""
    clip = window.frames(round(seconds * FPS), height, width)
    payload = payload_of(window.start << 8 | round(10 * window.zoom), MAC)
    embedder = Embedder((height, width), FPS, payload, KEY)
    made = np.stack([embedder.frame(pixels) for pixels in clip])
    errors = [float(((a.astype(np.float32) - b) ** 2).mean()) for a, b in zip(clip, made, strict=True)]
    return made, payload, float(10 * np.log10(255**2 / max(*errors, 1e-9)))


def is_read(clip: Video, payload: int, fps: float = FPS) -> bool:
    """Whether exactly this payload is read; another one would be an error of the bench's own."""
    found = reading.read(clip, fps, KEYS)
    assert found is None or found.payload == payload
    return found is not None


def main_point(window: Window) -> dict[str, float]:
    """What the required figures are made of, for one window."""
    clip, payload, psnr = marked(window)
    once = encoded(clip, CRF)
    half = resized(once, HEIGHT // 2, WIDTH // 2)
    return {
        "encoded": is_read(once, payload),
        "half": is_read(half, payload),
        "half_encoded": is_read(encoded(half, CRF), payload),
        "psnr": psnr,
    }


def by_size(size: tuple[int, int], window: Window) -> bool:
    """Encoded at another size."""
    clip, payload, _ = marked(window, SECONDS, *size)
    return is_read(encoded(clip, CRF), payload)


def by_length(seconds: float, window: Window) -> bool:
    """Of another length."""
    clip, payload, _ = marked(window, seconds)
    return is_read(encoded(clip, CRF), payload)


def by_crf(crf: int, window: Window) -> bool:
    """At another quality."""
    clip, payload, _ = marked(window)
    return is_read(encoded(clip, crf), payload)


def by_crop(share: float, window: Window) -> bool:
    """Cropped after encoding, and encoded again."""
    clip, payload, _ = marked(window)
    tall, wide = (round(side * share) // 2 * 2 for side in (HEIGHT, WIDTH))
    top, left = (HEIGHT - tall) * 6 // 10, (WIDTH - wide) * 4 // 10
    return is_read(encoded(encoded(clip, CRF)[:, top : top + tall, left : left + wide], CRF), payload)


def by_rate(fps: float, window: Window) -> bool:
    """Frames dropped or repeated after encoding, and encoded again."""
    clip, payload, _ = marked(window)
    at = (np.arange(round(SECONDS * fps)) * FPS / fps).astype(int)
    return is_read(encoded(encoded(clip, CRF)[at], CRF, fps), payload, fps)


CURVES: dict[str, tuple[Callable[..., bool], tuple[object, ...]]] = {
    "size": (by_size, SIZES),
    "seconds": (by_length, LENGTHS),
    "crf": (by_crf, CRFS),
    "crop": (by_crop, CROPS),
    "fps": (by_rate, RATES),
}


def unmarked_is_read(window: Window) -> bool:
    """A false positive: a clip without a mark, with the right keys."""
    return reading.read(encoded(window.frames(round(SECONDS * FPS), HEIGHT, WIDTH), CRF), FPS, KEYS) is not None


def wrong_keys(count: int, window: Window) -> dict[str, float]:
    """What keys that did not make a mark read of it: decodings that agree with a codeword, and payloads that pass."""
    (seen,) = reading.windows(iter(marked(window)[0]), FPS)
    found = reading.locked(seen, None, scan=False)
    assert found is not None
    agreeing = passing = 0
    most = 0.0
    for first in range(0, count, BATCH):
        secrets = [b"wrong" + (first + number).to_bytes(16, "big") for number in range(min(BATCH, count - first))]
        bits, agreement = reading.decoded(np.stack([reading.soft_bits(found[0], signs(secret)) for secret in secrets]))
        coded = [check(payload_in(word), MAC) is not None for word in bits]
        agreeing += int((agreement >= reading.AGREEMENT).sum())
        passing += int((np.array(coded) & (agreement >= reading.AGREEMENT)).sum())
        most = max(most, float(agreement.max()))
    return {"agreeing": agreeing, "passing": passing, "highest_agreement": round(most, 3)}


def cost(window: Window) -> dict[str, float]:
    """Processor seconds for a clip of 5 s at 480p: embedding, and reading."""
    clip = window.frames(round(COSTED_SECONDS * FPS), HEIGHT, WIDTH)
    embedder = Embedder((HEIGHT, WIDTH), FPS, payload_of(1, MAC), KEY)
    began = time.process_time()
    made = np.stack([embedder.frame(pixels) for pixels in clip])
    embedded = time.process_time()
    assert is_read(made, payload_of(1, MAC))
    return {"embed_cpu_s": round(embedded - began, 3), "read_cpu_s": round(time.process_time() - embedded, 3)}


def share(found: list[bool]) -> float:
    return round(sum(found) / len(found), 4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--curve", type=int, default=9)
    given = parser.parse_args()
    count, few, keys = (3, 1, 1000) if given.quick else (given.windows, given.curve, WRONG_KEYS)
    material = windows(count)
    with ProcessPoolExecutor(2) as pool:
        points = list(pool.map(main_point, material))
        shares = {name: share([bool(one[name]) for one in points]) for name in ("encoded", "half", "half_encoded")}
        print(len(points), "windows", shares, flush=True)
        curves = {}
        for name, (measure, values) in CURVES.items():
            found = {str(value): share(list(pool.map(partial(measure, value), material[:few]))) for value in values}
            curves[name] = found
            print(name, found, flush=True)
        unmarked = sum(pool.map(unmarked_is_read, material[: 2 * few]))
        wrong = pool.submit(wrong_keys, keys, material[0]).result()
        print(keys, "wrong keys", wrong, "unmarked read", unmarked, flush=True)
        costs = pool.submit(cost, material[0]).result()
    result(
        "watermark",
        samples=count,
        machine=machine(),
        payload_read=shares["encoded"],
        payload_read_half=shares["half"],
        payload_read_half_encoded=shares["half_encoded"],
        psnr_min_db=round(min(one["psnr"] for one in points), 2),
        psnr_mean_db=round(float(np.mean([one["psnr"] for one in points])), 2),
        false_positives=wrong["passing"] + unmarked,
        wrong_keys=keys,
        wrong_keys_above_threshold=wrong["agreeing"],
        wrong_keys_highest_agreement=wrong["highest_agreement"],
        false_positive_bound=reading.false_positive_rate(keys),
        curves=curves,
        **costs,
        too_small={f"{w}x{h}": not capacity(round(SECONDS * FPS), h, w, FPS).sufficient for h, w in SIZES},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

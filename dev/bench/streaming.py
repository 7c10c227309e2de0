"""make bench NAME=streaming: peak memory of a stream of 10 s and of one of 60 s, each in a process of its own.

Also what each process held before its first chunk, since torch alone is most of it: the ratio of what streaming added
is the stricter figure. Weights are random. Environment: KINEMA_BENCH_SECONDS (10-60), KINEMA_BENCH_SIDE (64) in pixels.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stage.measure import machine, result

SHORT, LONG = (float(seconds) for seconds in os.environ.get("KINEMA_BENCH_SECONDS", "10-60").split("-"))
SIDE = int(os.environ.get("KINEMA_BENCH_SIDE", "64"))
STREAMING = {"chunk_frames": 8, "window_chunks": 3, "context_level": 0.1, "reference_frames": 2}
STEPS = 2
MIB = 2**20


def peak() -> int:
    """Bytes of resident memory at their highest so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def streamed(seconds: float) -> None:
    """Make a stream, drop every chunk, and print peaks before and after and the bytes that the window holds."""
    import torch

    from kinema_model.codec.codec import PixelCodec
    from kinema_model.config import ModelConfig
    from kinema_model.denoiser import VideoDenoiser
    from kinema_model.streaming.stream import Shot, Streamer, StreamOptions, trained_streaming
    from kinema_model.text.encoder import TextEncoder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ModelConfig.from_preset("tiny", places="space", streaming=STREAMING)
    model, encoder = VideoDenoiser(config).eval().requires_grad_(False), TextEncoder()
    encoder.encode(["a red square moves right"])
    before = peak()
    options = StreamOptions(SIDE, SIDE, config.fps, STEPS, guidance_scale=2.0)
    shots = [Shot("a red square moves right", seconds)]
    streamer = Streamer(model, trained_streaming(config), PixelCodec(), encoder, shots, 1, options, "cpu")
    frames = sum(len(chunk) for chunk in streamer.run())
    kept = [layer for one in (*streamer.window.references, *streamer.window.chunks) for layer in one.layers]
    held = sum(each.numel() * each.element_size() for layer in kept for each in (layer.keys, layer.values))
    print(json.dumps({"frames": frames, "before": before, "peak": peak(), "window": held}))


def main() -> int:
    found = {}
    for seconds in (SHORT, LONG):
        command = [sys.executable, __file__, str(seconds)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[seconds] = json.loads(output.splitlines()[-1])
        print(f"{seconds:g} s", {name: round(n / MIB, 2) for name, n in found[seconds].items() if name != "frames"})
    short, long = found[SHORT], found[LONG]
    result(
        "streaming",
        samples=[short["frames"], long["frames"]],
        machine=machine(),
        side=SIDE,
        peak_mib=[round(each["peak"] / MIB, 1) for each in (short, long)],
        window_mib=[round(each["window"] / MIB, 2) for each in (short, long)],
        ratio=round(long["peak"] / short["peak"], 4),
        ratio_of_added=round((long["peak"] - long["before"]) / (short["peak"] - short["before"]), 4),
    )
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        streamed(float(sys.argv[1]))
        sys.exit(0)
    sys.exit(main())

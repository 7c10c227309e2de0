"""Whether the preparing job gives the same dataset undisturbed, and with workers that are killed and replaced."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench import real_video
from kinema_api import launch, objectstore
from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import StoreLocation
from kinema_api.prepare import ENV_WORKER, ClipTarget, PrepareConfig, PrepareResult
from kinema_api.recorded import RecordedClips

BUCKET: Final = "clips"
KILLS: Final = 3
TARGET: Final = ClipTarget(frames=16, pixels=160 * 96, fps=12, cell=(4, 8, 8))
CONFIG: Final = PrepareConfig(
    namespace="bench",
    name="bench",
    uid="bench",
    run=1,
    videos=(RecordedClips(uri=f"s3://{BUCKET}/videos/"),),
    target=TARGET,
)


def same_digest(folder: Path) -> bool:
    """Prepare the real clips twice below `folder`, the second time with kills, and compare the digests."""
    _fill(folder / "calm")
    shutil.copytree(folder / "calm", folder / "stormy")
    _must_end(_started(folder / "calm", 0))
    draw = random.Random(1)
    for worker in range(KILLS):
        process = _started(folder / "stormy", worker)
        try:
            process.wait(draw.uniform(4, 10))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    last = [_started(folder / "stormy", worker) for worker in (1, 5)]
    for process in last:
        _must_end(process)
    return _digest(folder / "calm") == _digest(folder / "stormy")


def _fill(folder: Path) -> None:
    store = _store(folder)
    for path in sorted(real_video.folder().glob("*.mp4")):
        store.put(f"videos/{path.name}", path.read_bytes())
        store.put(f"videos/{path.stem}.txt", f"the clip {path.stem}".encode())


def _store(folder: Path) -> FolderStore:
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    return FolderStore(StoreLocation(endpoint=f"file://{folder}", bucket=BUCKET))


def _started(folder: Path, worker: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        launch.ENV_TERMINATION_LOG: os.devnull,
        objectstore.ENV_ENDPOINT: f"file://{folder}",
        objectstore.ENV_BUCKET: BUCKET,
        ENV_WORKER: str(worker),
    }
    command = [sys.executable, "-m", "kinema_jobs.prepare", "--config", CONFIG.model_dump_json(by_alias=True)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)


def _must_end(process: subprocess.Popen[bytes]) -> None:
    if code := process.wait():
        raise SystemExit(f"a preparing process ended with {code}: run it by hand to see why")


def _digest(folder: Path) -> str:
    return PrepareResult.model_validate_json(_store(folder).get(CONFIG.result)).datasets[0].digest

"""The command of the standard agrees about clips that Kinema signed. It is built by cargo, where that was done."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from kinema_jobs.clip.media import write_mp4
from kinema_safety.provenance.chain import load
from kinema_safety.provenance.claim import Claim
from kinema_safety.provenance.signing import sign
from kinema_safety.provenance.trial import trial_chain

TOOLS = Path.home() / ".cache/kinema/tools"
VERSION = "0.27.1"
BUILD = f"cargo install c2patool --version {VERSION} --locked --root {TOOLS}"
C2PATOOL = shutil.which("c2patool", path=f"{TOOLS / 'bin'}") or shutil.which("c2patool")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(C2PATOOL is None, reason=f"c2patool is absent; build it: {BUILD}")]


def state(*arguments: str) -> str:
    assert C2PATOOL is not None
    answer = subprocess.run([C2PATOOL, *arguments], check=True, capture_output=True, text=True).stdout
    return str(json.loads(answer)["validation_state"])


def test_c2patool_says_the_same(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    trial, plain, signed = trial_chain("Studio", now), tmp_path / "plain.mp4", tmp_path / "signed.mp4"
    write_mp4(np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8), 12, plain)
    sign(
        plain,
        signed,
        Claim("video.mp4", "sha256:" + "5" * 64, now, "0.1.0", 7),
        load(trial.certificates, trial.key, now),
    )
    (tmp_path / "root.pem").write_bytes(trial.root)
    trusting = ("trust", "--trust_anchors", str(tmp_path / "root.pem"))
    assert state(str(signed)) == "Valid"
    assert state(str(signed), *trusting) == "Trusted"
    file = bytearray(signed.read_bytes())
    file[-50] ^= 1
    (tmp_path / "changed.mp4").write_bytes(file)
    assert state(str(tmp_path / "changed.mp4"), *trusting) == "Invalid"

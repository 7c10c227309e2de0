"""Argo CD's view of a resource: the shipped script, run by a Lua interpreter on what the operator writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kinema_operator.core.kstatus import Findings, Refusal, finish

SCRIPT = Path(__file__).resolve().parents[3] / "manifests" / "argocd" / "health.lua"
LUA = os.environ.get("KINEMA_LUA") or shutil.which("lua5.4") or shutil.which("lua5.1") or shutil.which("lua")
NOW = datetime(2026, 3, 1, tzinfo=UTC)

needs_lua = pytest.mark.skipif(LUA is None, reason="no Lua interpreter: install lua5.4, or name one in KINEMA_LUA")


def lua(value: Any) -> str:
    """A value as Lua writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{lua(k)}] = {lua(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "{" + ", ".join(lua(item) for item in value) + "}"
    return "nil" if value is None else str(value) if isinstance(value, int) else f'"{value}"'


def health(obj: dict[str, Any]) -> str:
    assert LUA is not None
    program = f"obj = {lua(obj)}\nlocal hs = dofile('{SCRIPT}')\nassert(hs.message ~= nil)\nprint(hs.status)"
    done = subprocess.run([LUA, "-"], input=program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def told(kind: str, phase: str, look: Findings | None = None, **conditions: str) -> dict[str, Any]:
    obj: dict[str, Any] = {"kind": kind, "metadata": {"name": "one", "generation": 3}}
    time = "2026-03-01T00:00:00Z"
    there = [
        {"type": t, "status": status, "reason": "Because", "message": "why", "lastTransitionTime": time}
        for t, status in conditions.items()
    ]
    status = finish(obj, {"phase": phase, "conditions": there}, look or Findings(), NOW)
    return {**obj, "status": status}


REFUSED = Findings(refusals=(Refusal("Job one", "QuotaExceeded", "exceeded quota"),))
CASES = [
    (told("VideoModelTraining", "Succeeded", Succeeded="True"), "Healthy"),
    (told("VideoModelTraining", "Failed", Failed="True"), "Degraded"),
    (told("VideoModelTraining", "Suspended", Suspended="True"), "Suspended"),
    (told("VideoModelTraining", "Training", Running="True"), "Progressing"),
    (told("VideoModelTraining", "Training", REFUSED, Running="False"), "Progressing"),
    (told("VideoModel", "ScaledToZero", Available="False"), "Healthy"),
    (told("VideoModel", "Serving", Available="True"), "Healthy"),
    (told("VideoModel", "Starting", Available="False"), "Progressing"),
    (told("VideoGeneration", "Succeeded", Succeeded="True"), "Healthy"),
    (told("VideoGeneration", "Cancelled", Cancelled="True"), "Degraded"),
    (told("VideoGeneration", "Running", Running="True"), "Progressing"),
]


@needs_lua
@pytest.mark.parametrize(("obj", "wanted"), CASES)
def test_argo_cd_sees_what_kstatus_says(obj: dict[str, Any], wanted: str) -> None:
    assert health(obj) == wanted


@needs_lua
def test_nothing_is_healthy_before_the_operator_has_seen_the_last_edit() -> None:
    done = told("VideoModelTraining", "Succeeded", Succeeded="True")
    assert health({**done, "metadata": {"generation": 4}}) == "Progressing"
    assert health({"metadata": {"generation": 1}}) == "Progressing"
    assert health({"metadata": {"generation": 1}, "status": {}}) == "Progressing"

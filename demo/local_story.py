"""The demo without a cluster: the same AppDef run by local processes, one killed, model and clip in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cluster_story import KILL_AT, SAMPLES
from console import accuracy_rows, live_bar, part, summary
from measure import events, measured, measuring
from stage.kube import StageError

PROMPT = "a red square moves right"


def tell(out: Path) -> int:
    """The whole story; 0 when the clip is there."""
    with part("Training with two agents; one is killed on the way"):
        published = train(out / "work")
    folder = Path(published["folder"])
    clip = out / "video.mp4"
    with part("A clip"):
        command = ["kinema_jobs.generate", "--model", str(folder), "--prompt", PROMPT, "--out", str(clip)]
        for event in events(command):
            if event["event"] == "error":
                raise StageError(event["message"])
    with part("The model measured, and its report"):
        report = measured(measuring(folder, out))
    rows = [
        ("clip", str(clip)),
        ("contact sheet", str(clip.with_name("spritesheet.webp"))),
        ("prompt", PROMPT),
        ("model", published["digest"]),
        *accuracy_rows(report),
        ("report", str(out / "report.html")),
        ("recovery after the kill", f"{published['recovery']:.1f} s to the next optimizer step"),
    ]
    summary("Kinema, without a cluster", rows, [f'kinema generate "a blue circle moves left" --local {folder}'])
    return 0


def train(work: Path) -> dict[str, Any]:
    """Train the sample with local agents; the published model and the recovery time."""
    sample = SAMPLES / "training.yaml"
    shutil.rmtree(work, ignore_errors=True)
    command = ["kinema_jobs.local", str(sample), "--work", str(work), "--kill-after-step", str(kill_step(sample))]
    published: dict[str, Any] = {}
    recovery = 0.0
    with live_bar() as bar:
        task = bar.add_task("starting the agents", total=1)
        for event in events(command):
            if event["event"] == "progress":
                loss = f" loss {event['loss']:.3f}" if "loss" in event else ""
                text = f"Training on {event['worldSize']} agents{loss}"
                bar.update(task, description=text, completed=event["step"], total=event["totalSteps"])
            elif event["event"] == "recovered":
                recovery = event["seconds"]
                bar.console.print(f"[green]stepping again after {recovery:.1f} s")
            elif event["event"] == "published":
                published = event
            else:
                bar.console.print(f"[yellow]{event.get('message', event['event'])}")
    if not published:
        raise StageError(f"the local run published nothing; its logs are under {work}")
    return {**published, "recovery": recovery}


def kill_step(sample: Path) -> int:
    """The step after which one agent is killed."""
    import yaml

    return int(KILL_AT * yaml.safe_load(sample.read_text())["spec"]["optimization"]["steps"])

"""The demo on a cluster: samples applied unchanged, a worker killed on the way, a clip served from zero."""

from __future__ import annotations

import json
import random
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from cluster.settings import Settings
from console import accuracy_rows, console, live_bar, part, summary
from kinema_api import layout
from kinema_api.manifest import Manifest
from measure import Job, measured, measuring
from stage import faults, install, kube, runs

NAMESPACE = "kinema-demo"
TRAINING = "tiny-world"
GENERATION = "red-square"
SAMPLES = install.REPOSITORY / "manifests" / "samples"
KILL_AT = 0.4
PROMETHEUS = f"http://127.0.0.1:{Settings.from_environment().prometheus_port}"
QUERIES = {
    "kinema_training_step": "max(max_over_time(kinema_training_step[30m]))",
    "kinema_operator_reconciles_total": "sum(kinema_operator_reconciles_total)",
    "kinema_serving_generations_total": "sum(kinema_serving_generations_total)",
}


def tell(out: Path) -> int:
    """The whole story; 0 when the clip is there."""
    with part("A real Kubernetes"):
        install.cluster_tool("up")
    with part("Kinema's images and chart"):
        install.install()
    with part("Samples applied, unchanged"):
        kube.restricted_namespace(NAMESPACE)
        _forget_last_time()
        console.print(kube.kubectl("apply", "-n", NAMESPACE, "-f", str(SAMPLES)).strip())
    with part("Training on two nodes; one worker is killed on the way"):
        recovery = follow_training()
    status = runs.training_status(TRAINING, NAMESPACE)
    measurement = start_measuring(status["published"]["digest"], out)
    with part("A clip, served from zero replicas, while the model is measured"):
        clip = follow_generation(out)
    with part("The model measured, and its report"):
        report = measured(measurement)
    numbers = prometheus()
    rows = [
        ("clip", str(clip["video"])),
        ("contact sheet", str(clip["spritesheet"])),
        ("prompt", clip["prompt"]),
        ("model", status["published"]["digest"]),
        *accuracy_rows(report),
        ("report", str(out / "report.html")),
        ("recovery after the kill", f"{recovery:.1f} s to the next optimizer step"),
        *(("Prometheus: " + name, value) for name, value in numbers.items()),
    ]
    summary("Kinema", rows, next_steps())
    return 0


def _forget_last_time() -> None:
    for kind, name in (("vgen", GENERATION), ("vmodel", TRAINING), ("vmt", TRAINING)):
        kube.kubectl("delete", kind, name, "-n", NAMESPACE, "--ignore-not-found")


def follow_training() -> float:
    """Show progress, kill one worker, wait for the end; recovery seconds."""
    recovery: float | None = None
    with live_bar() as bar:
        task = bar.add_task("waiting for the workers", total=1)
        for status in runs.watch_status("vmt", TRAINING, NAMESPACE, seconds=300):
            phase, progress = status.get("phase", "Pending"), status.get("progress", {})
            total = progress.get("totalSteps") or 1
            bar.update(task, description=_line(status), completed=progress.get("step", 0), total=total)
            if phase == "Succeeded":
                break
            if phase == "Failed":
                raise kube.StageError(runs.explain("vmt", TRAINING, NAMESPACE))
            if recovery is None and progress.get("step", 0) >= KILL_AT * total:
                recovery = kill_one(bar.console.print)
        else:
            raise kube.StageError(runs.explain("vmt", TRAINING, NAMESPACE))
    if recovery is None:
        raise kube.StageError("the training ended before a worker could be killed")
    return recovery


def _line(status: dict[str, Any]) -> str:
    nodes, progress = status.get("nodes", {}), status.get("progress", {})
    loss = f" loss {progress['loss']:.3f}" if progress.get("loss") is not None else ""
    return f"{status.get('phase', 'Pending')} on {nodes.get('ready', 0)}/{nodes.get('desired', '?')} nodes{loss}"


def kill_one(say: Any) -> float:
    """SIGKILL every process of a random worker's pod; seconds until the survivors step again."""
    group = kube.until(lambda: runs.stepping(TRAINING, NAMESPACE, 2), "two stepping workers", 120)
    victim, _ = random.choice(group)
    round_ = max(progress.round for _, progress in group)
    survivors = [pod for pod, _ in group if pod != victim]
    killed_at = time.time()
    count = faults.kill_pod(victim.uid)
    if not count:
        kube.kubectl("delete", "pod", victim.name, "-n", NAMESPACE, "--grace-period=0", "--force", "--wait=false")
    say(f"[yellow]killed {victim.name} ({count or 'by the API,'} processes)")
    stepped_at, progress = runs.first_step_after(survivors, round_, killed_at, 120)
    took = stepped_at - killed_at
    say(f"[green]stepping again after {took:.1f} s, at step {progress.step}, on {progress.world_size} node")
    return took


def follow_generation(out: Path) -> dict[str, Any]:
    """Wait for the clip and fetch it as a person does; its files and prompt."""
    with live_bar() as bar:
        task = bar.add_task("waiting for a server", total=100)
        for status in runs.watch_status("vgen", GENERATION, NAMESPACE, seconds=300):
            phase = status.get("phase", "Pending")
            bar.update(task, description=phase, completed=status.get("progress", {}).get("percent", 0))
            if phase == "Succeeded":
                bar.update(task, completed=100)
                break
            if phase in ("Failed", "Cancelled"):
                raise kube.StageError(runs.explain("vgen", GENERATION, NAMESPACE))
        else:
            raise kube.StageError(runs.explain("vgen", GENERATION, NAMESPACE))
    spec = (kube.get("vgen", GENERATION, NAMESPACE) or {})["spec"]
    files = {"video": layout.VIDEO, "thumbnail": layout.THUMBNAIL, "spritesheet": layout.SPRITESHEET}
    found: dict[str, Any] = {
        field: kube.download(GENERATION, NAMESPACE, field, out / name) for field, name in files.items()
    }
    return {**found, "prompt": spec["prompt"]}


def start_measuring(digest: str, out: Path) -> Job:
    """Fetch the published model, and begin to measure what it draws, read back out of pixels."""
    folder = out / "model"
    folder.mkdir(exist_ok=True)
    store, prefix = install.store(), layout.model_prefix(digest)
    manifest = Manifest.read(store, prefix + layout.MANIFEST)
    for file in manifest.files:
        store.get_file(prefix + file.name, folder / file.name)
    return measuring(folder, out)


def prometheus() -> dict[str, str]:
    """Some of the run's numbers, asked of Prometheus; says so where there is none."""
    answers = {}
    for name, query in QUERIES.items():
        try:
            url = f"{PROMETHEUS}/api/v1/query?" + urllib.parse.urlencode({"query": query})
            with urllib.request.urlopen(url, timeout=5) as answer:
                found = json.loads(answer.read())["data"]["result"]
            answers[name] = found[0]["value"][1] if found else "no sample"
        except OSError:
            answers[name] = f"no Prometheus at {PROMETHEUS}"
    return answers


def next_steps() -> list[str]:
    """What a person may try on the cluster that stays up."""
    return [
        f"export KUBECONFIG={kube.kubeconfig()}",
        f"kubectl get kinema -n {NAMESPACE}",
        f'kinema generate "a blue circle moves left" --model {TRAINING} -n {NAMESPACE} --out blue.mp4',
        f"kubectl describe vmt {TRAINING} -n {NAMESPACE}",
        f'kubectl patch vmt {TRAINING} -n {NAMESPACE} --type merge -p \'{{"spec":{{"runId":"again"}}}}\'',
        f"kubectl scale vmt/{TRAINING} -n {NAMESPACE} --replicas=3",
        f"open {PROMETHEUS}",
        "make cluster-down",
    ]

"""make upgrade-test FROM=<rev>: the effect of an upgrade on running trainings and served models.

Installs the chart and the control-plane image of an older revision, with a training that steps and a model that is
served, and then upgrades to this checkout by `helm upgrade`. The training's pods must keep running or, at worst, resume
from its last checkpoint; the model must serve requests before and after; and the CRDs must accept the objects that the
older operator wrote.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.settings import Settings
from stage import install, kube, objects, runs

NAMESPACE = "kinema-upgrade"
TRAINING, MODEL = "through", "served"
SECONDS = 600.0
OLD_WORKER = "localhost/kinema/worker-host:before"


def checkout(revision: str) -> Path:
    """The files of a revision, with this checkout's environment. They are kept, since containers mount them."""
    commit = subprocess.run(
        ["git", "rev-parse", "--verify", f"{revision}^{{commit}}"],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        cwd=install.REPOSITORY,
    ).stdout.strip()
    tree = Settings.from_environment().cache / "upgrade" / commit
    if not (tree / ".venv").exists():
        tree.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(["git", "archive", commit], check=True, stdout=subprocess.PIPE, cwd=install.REPOSITORY)
        subprocess.run(["tar", "-x", "-C", str(tree)], check=True, input=packed.stdout)
        (tree / ".venv").symlink_to((install.REPOSITORY / ".venv").resolve())
    return tree


def install_from(tree: Path) -> None:
    """Chart and images of another checkout, by its own tools."""
    os.environ["KINEMA_HOST_MOUNTS"] = str(tree)
    install.cluster_tool("up")
    install.cluster_tool("worker-image", OLD_WORKER, "--checkout", str(tree))
    script = """
import sys
sys.path[:0] = ["dev", "tests"]
from stage import install, kube
kube.restricted_namespace(install.SYSTEM)
archive, content = install.control_plane_image()
install.cluster_tool("load", str(archive))
install.upgrade(content, "--set", sys.argv[1])
"""
    environment = os.environ | {"PYTHONPATH": ":".join(str(tree / part) for part in ("operator", "model", "jobs"))}
    subprocess.run([sys.executable, "-c", script, f"worker.image={OLD_WORKER}"], check=True, cwd=tree, env=environment)


def generate(name: str) -> float:
    """Request a clip and wait for it; returns the seconds that it took."""
    kube.apply(objects.short_clip(name, MODEL), NAMESPACE)
    began = time.monotonic()

    def done() -> bool:
        phase = (kube.get("vgen", name, NAMESPACE) or {}).get("status", {}).get("phase")
        if phase == "Failed":
            raise kube.StageError(runs.explain("vgen", name, NAMESPACE))
        return bool(phase == "Succeeded")

    kube.until(done, f"delivery of {name}", SECONDS)
    return time.monotonic() - began


def main() -> int:
    """Upgrade, and print the effect."""
    revision = sys.argv[1] if len(sys.argv) > 1 else "HEAD~1"
    kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=300)
    kube.restricted_namespace(NAMESPACE)
    tree = checkout(revision)
    try:
        if "kinema" in install.helm("list", "-n", install.SYSTEM, "-q"):
            install.helm("uninstall", install.RELEASE, "-n", install.SYSTEM, "--wait")
        # The store's key survives its release, and an older chart does not expect it.
        kube.kubectl("delete", "namespace", install.SYSTEM, "--ignore-not-found", seconds=300)
        install_from(tree)
        kube.apply(objects.tiny_training(MODEL, 40, publish={"model": MODEL}), NAMESPACE)
        kube.until(lambda: runs.ended(MODEL, NAMESPACE) == "Succeeded", "a model", SECONDS)
        kube.apply(objects.tiny_training(TRAINING, 1_000_000), NAMESPACE)
        group = kube.until(lambda: runs.stepping(TRAINING, NAMESPACE, 2), "the group at work", SECONDS)
        print(f"before: a clip in {generate('before'):.1f} s", flush=True)
        pods = {pod.uid for pod, _ in group}
        step = max(p.step for _, p in group)
        status = runs.training_status(TRAINING, NAMESPACE)
        began = time.monotonic()
        install.install()
        print(f"helm upgrade: {time.monotonic() - began:.1f} s", flush=True)
        print(f"after: a clip in {generate('after'):.1f} s", flush=True)

        def further() -> bool:
            now = runs.stepping(TRAINING, NAMESPACE, 2)
            return bool(now) and max(p.step for _, p in now or []) > step

        kube.until(further, "the training stepping further", SECONDS)
        now = runs.training_status(TRAINING, NAMESPACE)
        same = {pod.uid for pod in runs.trainer_pods(TRAINING, NAMESPACE)} == pods
        print(
            f"the training: attempt {status['attempt']} -> {now['attempt']}, "
            f"{'the same pods' if same else 'other pods'}, on from step {step}",
            flush=True,
        )
        assert (kube.get("vmodel", MODEL, NAMESPACE) or {})["status"].get("digest"), "the model is read"
    finally:
        kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=300, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

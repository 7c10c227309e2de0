"""`make demo`: from nothing to a trained model and a clip that shows what the prompt said.

On a machine that can carry a cluster the whole story runs on a real multi-node Kubernetes; elsewhere the same story
is told by local processes. Either way it ends with the clip, its contact sheet and the model's measured accuracy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "dev"), str(ROOT / "demo")]

from console import console  # noqa: E402
from stage.kube import StageError  # noqa: E402

OUT = ROOT / "out" / "demo"


def why_no_cluster() -> str | None:
    """Why this machine can carry no cluster; None if it can."""
    if os.environ.get("KINEMA_CLUSTER") == "kubeconfig":
        return None
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        return None
    if os.geteuid() != 0:
        return "no KUBECONFIG was chosen, no Docker daemon answers and this is not root"
    may_namespace = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return None if may_namespace.returncode == 0 else "no Docker daemon answers and root may not make namespaces"


def main() -> int:
    """Tell the story that this machine can carry."""
    OUT.mkdir(parents=True, exist_ok=True)
    reason = why_no_cluster()
    try:
        if reason:
            console.print(f"No cluster here ({reason}): telling the same story with local processes.")
            import local_story

            return local_story.tell(OUT)
        import cluster_story

        return cluster_story.tell(OUT)
    except StageError as error:
        console.print(f"[red]{error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The first process of a node: makes the node's own view of the file system, runs and restarts its daemons.

It runs as process 1 of a process-id namespace and in a mount namespace of its own. When it dies the kernel
ends every process of the node, container shims included, and unmounts all that was mounted there. So a node
that is stopped, or lost on purpose, leaves nothing behind.

Run as a script with one argument, a JSON file: {"bind": {target: source}, "daemons": [{"name", "argv", "log",
"after"}]}, `after` being a path that must exist before the daemon is started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESTART_SECONDS = 1.0
POLL_SECONDS = 0.05


def make_mounts(binds: dict[str, str]) -> None:
    """Give this node a fresh /run and folders of its own where the daemons expect the machine's."""
    # Shared, within this namespace only: containers may ask for mounts that appear later.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], check=True)
    for target, source in binds.items():
        Path(source).mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", source, target], check=True)


def start(daemon: dict[str, Any]) -> int:
    """Start one daemon once what it needs exists; return its process id."""
    while daemon["after"] and not Path(daemon["after"]).exists():
        time.sleep(POLL_SECONDS)
    with Path(daemon["log"]).open("ab") as log:
        process = subprocess.Popen(
            daemon["argv"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    # Reaped below with everybody else's children; the object must not try it too.
    process.returncode = 0
    return process.pid


def supervise(daemons: list[dict[str, Any]]) -> None:
    """Keep the daemons running and reap what containers leave to process 1, for ever."""
    running = {start(daemon): daemon for daemon in daemons}
    while True:
        pid, status = os.wait()
        daemon = running.pop(pid, None)
        if daemon is not None:
            print(f"{daemon['name']} ended with {os.waitstatus_to_exitcode(status)}; restarting", flush=True)
            time.sleep(RESTART_SECONDS)
            running[start(daemon)] = daemon


def main() -> None:
    """Become the node that the given file describes."""
    description = json.loads(Path(sys.argv[1]).read_text())
    # Process 1 ignores signals it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    make_mounts(description["bind"])
    supervise(description["daemons"])


if __name__ == "__main__":
    main()

"""kubectl against one API server and namespace, as a person uses it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).parent / "kubectl"


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Kubectl:
    """Commands run in `namespace`."""

    kubeconfig: Path
    namespace: str

    def ask(self, *arguments: str, stdin: str | None = None) -> Answer:
        """Run a command, whatever comes of it."""
        done = subprocess.run(
            [str(PROGRAM), "--kubeconfig", str(self.kubeconfig), "-n", self.namespace, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Output of a command that must succeed."""
        answer = self.ask(*arguments, stdin=stdin)
        assert answer.code == 0, answer.err
        return answer.out

    def apply(self, manifest: dict[str, Any], *flags: str) -> Answer:
        """`kubectl apply` of one object."""
        return self.ask("apply", *flags, "-f", "-", stdin=json.dumps(manifest))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object."""
        found: dict[str, Any] = json.loads(self("get", kind, name, "-o", "json"))
        return found

    def set_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """Write status as the operator does."""
        body = json.dumps({"status": status})
        self("patch", kind, name, "--subresource=status", "--type=merge", "-p", body)


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the field at a dotted path set, or removed where `value` is None."""
    result = copy.deepcopy(manifest)
    *parents, last = path.split(".")
    place = result
    for part in parents:
        place = place.setdefault(part, {})
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return result

"""Runs other programs to completion and turns their failure into an error that quotes them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import ClusterError


def run(argv: Sequence[str | Path], *, stdin: str | None = None, cwd: Path | None = None) -> str:
    """Run `argv`, return its standard output.

    Raises:
        ClusterError: it exited with another code than 0; quotes its standard error.
    """
    arguments = [str(argument) for argument in argv]
    result = subprocess.run(arguments, input=stdin, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        words = result.stderr.strip() or result.stdout.strip()
        raise ClusterError(f"`{' '.join(arguments)}` exited with {result.returncode}: {words}")
    return result.stdout


def succeeds(argv: Sequence[str | Path]) -> bool:
    """Whether `argv` can be run and exits with 0."""
    try:
        return subprocess.run([str(a) for a in argv], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False

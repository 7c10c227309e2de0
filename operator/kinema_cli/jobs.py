"""Runs the commands that need PyTorch in processes of their own, so that the command itself starts fast."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from kinema_cli.errors import BAD_MANIFEST, BadManifest, CommandError


class Job:
    """`python -m <module> <arguments>`, whose standard output is one JSON object per line."""

    def __init__(
        self, module: str, arguments: list[str], words: dict[str, Any] | None = None, extras: str = "train,serve"
    ) -> None:
        self._module, self._extras = module, extras
        # No prompt in argv: every user of the machine can read it.
        self._words = None if words is None else json.dumps(words)
        self._command = [sys.executable, "-m", module, *arguments]

    def events(self) -> Iterator[dict[str, Any]]:
        """Its events as they come.

        Raises:
            BadManifest: it ended with code 2.
            CommandError: it ended with another code; the message is that of the process, if it has one.
        """
        said: str | None = None
        pipes: dict[str, Any] = {"stdin": None if self._words is None else subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(self._command, text=True, **pipes) as process:  # noqa: S603 - our own module
            assert process.stdout is not None
            try:
                if process.stdin is not None:
                    with contextlib.suppress(BrokenPipeError):  # it has ended, and its exit code says why
                        process.stdin.write(self._words or "")
                        process.stdin.close()
                for line in process.stdout:
                    event = _parse(line)
                    if event is None:
                        continue
                    said = str(event.get("message") or event.get("error") or "") or said
                    yield event
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            kind = BadManifest if process.returncode == BAD_MANIFEST else CommandError
            raise kind(said or f"{self._module} ended with code {process.returncode}; {self._remedy()}")

    def _remedy(self) -> str:
        return f"see its last lines above; it needs more of Kinema (pip install 'kinema[{self._extras}]')"


def _parse(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None

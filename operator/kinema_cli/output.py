"""Output for people and for programs.

Results go to stdout: text, or with --json exactly one JSON document. Progress and errors go to stderr, progress as a
bar on a terminal and as a line per change elsewhere; with --json there is no progress, and an error is the document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from kinema_cli.errors import CommandError


class Output:
    """Writes results, progress and errors."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._people = Console(stderr=True)

    def result(self, document: Any, text: str | None = None) -> None:
        """The command's result: `document` for programs, `text` for people."""
        if self.as_json:
            print(json.dumps(document, indent=2, default=str))
        elif text is not None:
            print(text)

    def table(self, document: Any, columns: list[str], rows: list[list[str]]) -> None:
        """The same for a list: `document` for programs, a table for people."""
        if self.as_json:
            self.result(document)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.upper(), no_wrap=True, overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        console = Console()
        if not console.is_terminal:
            # A pipe has no width: whole cells are worth more there than lines of 80 characters.
            console = Console(width=max(80, table_width(columns, rows)))
        console.print(table)

    def line(self, content: dict[str, str] | str) -> None:
        """One line of a stream, at once: an object for programs, text for people."""
        print(content if isinstance(content, str) else json.dumps(content), flush=True)

    def note(self, text: str) -> None:
        """A note, which is not printed with --json."""
        if not self.as_json:
            self._people.print(escape(text), soft_wrap=True, highlight=False)

    def error(self, error: CommandError) -> None:
        """Print the error with which the command ends."""
        if self.as_json:
            print(json.dumps({"error": str(error), "exitCode": error.exit_code}))
        else:
            print(f"error: {printable(str(error))}", file=sys.stderr)

    @contextmanager
    def progress(self) -> Iterator[Follower]:
        """Shows progress while the context is open."""
        if self.as_json:
            yield Follower()
        elif self._people.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            with Progress(*columns, console=self._people, transient=True) as bar:
                yield _Bar(bar, bar.add_task("", total=None))
        else:
            yield _Lines(self._people)


class Follower:
    """Discards progress: the follower for programs."""

    def show(self, what: str, done: float | None = None, total: float | None = None) -> None:
        """Show the current activity and how much of it is done."""


class _Bar(Follower):
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def show(self, what: str, done: float | None = None, total: float | None = None) -> None:
        self._bar.update(self._task, description=escape(printable(what)), completed=done or 0, total=total)


class _Lines(Follower):
    """Prints a line whenever the text changes or another tenth is done, which keeps logs of a pipeline short."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[str, int] = ("", -1)

    def show(self, what: str, done: float | None = None, total: float | None = None) -> None:
        tenth = int(10 * (done or 0) / total) if total else -1
        words = what.split(",")[0]
        if (words, tenth) != self._last:
            self._last = (words, tenth)
            amount = f" {done:g}/{total:g}" if total and done is not None else ""
            self._console.print(escape(printable(what)) + amount, soft_wrap=True, highlight=False)


def printable(text: str) -> str:
    """Text without control characters, so that data from a cluster cannot control the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def table_width(columns: list[str], rows: list[list[str]]) -> int:
    """Characters that a table of these cells takes."""
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    return sum(widths) + 2 * len(widths)

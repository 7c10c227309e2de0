"""What the demo shows: numbered parts with their seconds, one live line while something runs, and a closing summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

console = Console(highlight=False)


@contextmanager
def part(title: str) -> Iterator[None]:
    """Announce a part and print the seconds it took."""
    console.rule(f"[bold]{title}", align="left")
    begun = time.monotonic()
    yield
    console.print(f"[dim]{title}: {time.monotonic() - begun:.0f} s[/dim]")


class Lines(Progress):
    """Progress as lines: a log would show nothing of a bar but its end."""

    _shown: tuple[str, int] | None = None

    def update(self, task_id: TaskID, *args: Any, **kwargs: Any) -> None:
        """Print a line whenever the text has changed, or another tenth is done."""
        super().update(task_id, *args, **kwargs)
        task = self.tasks[task_id]
        tenth = int(10 * task.completed / (task.total or 1))
        if (task.description.partition(" loss ")[0], tenth) != self._shown:
            self._shown = (task.description.partition(" loss ")[0], tenth)
            self.console.print(f"  {task.description}: {task.completed:.0f}/{task.total:.0f}, {task.elapsed:.0f} s")


def live_bar() -> Progress:
    """A bar with a text that changes, for long work; where the output is no terminal, a line for each tenth of it."""
    kind = Progress if console.is_terminal else Lines
    return kind(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        console=console,
    )


def summary(title: str, rows: list[tuple[str, str]], after: list[str]) -> None:
    """The closing panel: what was made, its figures, and what to try next."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"[bold]{name}", value)
    console.print(Panel(table, title=title, expand=False))
    console.print("[bold]Try next:")
    for line in after:
        console.print(f"  {line}", soft_wrap=True)


def accuracy_rows(report: dict[str, dict[str, float]]) -> list[tuple[str, str]]:
    """One row an attribute: measured, chance, and the parser's own on true clips."""
    return [
        (
            f"accuracy: {name}",
            f"{row['accuracy']:.1%}  (chance {row['chance']:.1%}, parser on true clips {row['parser_accuracy']:.1%})",
        )
        for name, row in report.items()
    ]

"""make figures: how the code is built, in figures; what is longest is named first, and one JSON line comes last.

Functions, files, types and docstrings are those of operator/, model/ and jobs/. Long files are named wherever they lie.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from figures import imports
from figures.source import Function, Source, read

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCT = ("operator", "model", "jobs")
REST = ("dev", "demo", "images", "tests")
LONG_FUNCTION = 45
LONG_FILE = 400


def main() -> int:
    """Print the figures; 1 if an import contract is broken."""
    sources = [source for folder in PRODUCT for source in _sources(folder)]
    functions = [function for source in sources for function in source.functions]
    everywhere = [*sources, *(source for folder in REST for source in _sources(folder))]
    _tell("functions", LONG_FUNCTION, {function.name: function.lines for function in functions})
    _tell("files", LONG_FILE, {source.path: source.lines for source in everywhere})
    kept, broken = imports.contracts(REPOSITORY)
    children, pairs = imports.children("kinema_operator")
    figures = {
        "contracts": kept + broken,
        "contracts_kept": broken == 0,
        "operator_children": children,
        "operator_import_pairs": pairs,
        **_lengths(sources, functions),
        "annotated_share": _share([function.annotated for function in functions]),
        "public_docstring_share": _share([each for source in sources for each in source.documented.values()]),
    }
    print(json.dumps(figures))
    return 1 if broken else 0


def _sources(folder: str) -> list[Source]:
    return [read(file, REPOSITORY) for file in sorted((REPOSITORY / folder).rglob("*.py"))]


def _tell(what: str, limit: int, lengths: dict[str, int]) -> None:
    longest = sorted(((lines, name) for name, lines in lengths.items() if lines > limit), reverse=True)
    print(f"{len(longest)} {what} of more than {limit} lines")
    for lines, name in longest:
        print(f"{lines:6} {name}")


def _lengths(sources: list[Source], functions: list[Function]) -> dict[str, object]:
    lines = [function.lines for function in functions]
    longest = max(sources, key=lambda source: source.lines)
    return {
        "functions": len(functions),
        "function_lines_median": statistics.median(lines),
        "function_lines_max": max(lines),
        "files": len(sources),
        "file_lines_max": longest.lines,
        "file_longest": longest.path,
    }


def _share(held: list[bool]) -> float:
    return round(sum(held) / len(held), 4)

"""What imports what: the contracts of import-linter, and how closely the parts of a package are bound together."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import grimp

SUMMARY = re.compile(r"Contracts: (\d+) kept, (\d+) broken")


def contracts(repository: Path) -> tuple[int, int]:
    """How many contracts are kept, and how many are broken.

    Raises:
        RuntimeError: lint-imports did not come to a result.
    """
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=repository, capture_output=True, text=True, check=False)
    if not (found := SUMMARY.search(done.stdout)):
        raise RuntimeError(f"lint-imports gave no result; run it by hand.\n{done.stdout}{done.stderr}")
    return int(found[1]), int(found[2])


def children(package: str) -> tuple[int, int]:
    """Direct children of a package, and ordered pairs of them of which the first imports from the second."""
    graph = grimp.build_graph(package)
    parts = graph.find_children(package)
    part_of = {module: part for part in parts for module in {part, *graph.find_descendants(part)}}
    pairs = {
        (part_of[module], part_of[imported])
        for module in part_of
        for imported in graph.find_modules_directly_imported_by(module)
        if imported in part_of and part_of[imported] != part_of[module]
    }
    return len(parts), len(pairs)

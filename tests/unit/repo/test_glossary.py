"""docs/glossary.md lists identifiers that were renamed: none of them comes back."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TREES = ("operator", "model", "jobs", "dev")
ROW = re.compile(r"^\| `([\w.]+)` \| `([\w.]+)` \|", re.MULTILINE)

RENAMED = dict(ROW.findall((ROOT / "docs" / "glossary.md").read_text()))
PLAIN = sorted(old for old in RENAMED if "." not in old)
DOTTED = sorted(old for old in RENAMED if "." in old)


def sources() -> list[Path]:
    """Python files of all trees."""
    return sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))


@cache
def uses() -> dict[str, str]:
    """Each identifier and module name, with a file that has it."""
    found: dict[str, str] = {}
    for path in sources():
        where = str(path.relative_to(ROOT))
        found.setdefault(path.stem, where)
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type == tokenize.NAME:
                found.setdefault(token.string, where)
    return found


def file_of(module: str) -> Path | None:
    """The file of a module or package, if there is one."""
    for tree in TREES:
        path = ROOT / tree / module.replace(".", "/")
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def defined(tree: ast.Module) -> set[str]:
    """Names that a module binds at its top level, without those that it imports."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            if isinstance(target, ast.Name):
                names.add(target.id)
    return names


def test_the_table_is_read() -> None:
    assert PLAIN
    assert DOTTED
    assert not RENAMED.keys() & set(RENAMED.values())


@pytest.mark.parametrize("old", PLAIN)
def test_an_old_identifier_is_not_used(old: str) -> None:
    assert old not in uses(), f"{uses()[old]} uses {old}: write {RENAMED[old]}, see docs/glossary.md"


@pytest.mark.parametrize("old", DOTTED)
def test_an_old_name_of_a_module_is_gone(old: str) -> None:
    assert file_of(old) is None, f"{old} is called {RENAMED[old]}, see docs/glossary.md"
    module, _, name = old.rpartition(".")
    file = file_of(module)
    if file is not None:
        assert name not in defined(ast.parse(file.read_text())), f"{old} is called {RENAMED[old]}, see docs/glossary.md"


def test_a_name_at_the_top_of_a_module_is_found() -> None:
    tree = ast.parse("class A: ...\nB = 1\nC: int = 2\nimport d\ndef e(): ...\n")
    assert defined(tree) == {"A", "B", "C", "e"}

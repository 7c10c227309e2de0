"""One file of Python as its syntax tree tells it: how long its functions are, what is annotated and documented."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """A function or method; one within another counts by itself and as lines of the other.

    Attributes:
        lines: from `def` to the end, blank lines and comments included, decorators and docstring not.
        annotated: everything that it takes (`self` and `cls` aside) and gives has a type.
    """

    name: str
    lines: int
    annotated: bool


@dataclass(frozen=True)
class Source:
    """One file.

    Attributes:
        documented: whether the module and each public class, function and method has a docstring, by name.
    """

    path: str
    lines: int
    functions: list[Function]
    documented: dict[str, bool]


def read(file: Path, root: Path) -> Source:
    """Parse a file."""
    text = file.read_text()
    tree = ast.parse(text)
    path = str(file.relative_to(root))
    functions = [_function(node, path) for node in ast.walk(tree) if isinstance(node, AnyFunction)]
    documented = {name: ast.get_docstring(node) is not None for name, node in _public(tree, path)}
    return Source(path, len(text.splitlines()), functions, documented)


def _function(node: AnyFunction, path: str) -> Function:
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        docstring = node.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return Function(f"{path}:{node.lineno} {node.name}", lines, _annotated(node))


def _annotated(node: AnyFunction) -> bool:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if positional and positional[0].arg in ("self", "cls"):
        positional = positional[1:]
    variable = [each for each in (arguments.vararg, arguments.kwarg) if each]
    return node.returns is not None and all(each.annotation for each in (*positional, *arguments.kwonlyargs, *variable))


def _public(tree: ast.Module, path: str) -> Iterator[tuple[str, ast.Module | ast.ClassDef | AnyFunction]]:
    if tree.body:
        yield path, tree
    yield from _public_members(tree, path)


def _public_members(outer: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, ast.ClassDef | AnyFunction]]:
    for node in outer.body:
        if isinstance(node, ast.ClassDef | AnyFunction) and not node.name.startswith("_"):
            yield f"{name}:{node.lineno} {node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from _public_members(node, name)

"""What `make figures` counts."""

from __future__ import annotations

from pathlib import Path

from figures.source import Source, read

TEXT = '''"""A module."""

import functools


@functools.cache
def short(number: int) -> int:
    """Of two lines
    in two lines.
    """
    return number


class Open:
    def method(self, *rest: int, word=1) -> None:
        def inner(): ...

        inner()

    def _hidden(self): ...
'''


def source(tmp_path: Path) -> Source:
    file = tmp_path / "module.py"
    file.write_text(TEXT)
    return read(file, tmp_path)


def test_a_functions_length_is_without_decorators_and_docstring(tmp_path: Path) -> None:
    lines = {function.name: function.lines for function in source(tmp_path).functions}
    assert lines == {
        "module.py:7 short": 2,
        "module.py:15 method": 4,
        "module.py:16 inner": 1,
        "module.py:20 _hidden": 1,
    }


def test_a_function_is_annotated_when_every_argument_and_the_result_is(tmp_path: Path) -> None:
    annotated = {function.name.split()[1]: function.annotated for function in source(tmp_path).functions}
    assert annotated == {"short": True, "method": False, "inner": False, "_hidden": False}


def test_only_what_is_public_is_asked_for_a_docstring(tmp_path: Path) -> None:
    documented = source(tmp_path).documented
    assert documented == {
        "module.py": True,
        "module.py:7 short": True,
        "module.py:14 Open": False,
        "module.py:15 method": False,
    }

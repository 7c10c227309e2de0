"""YAML as kubectl parses it: a file must mean the same to `kinema train` and to `kubectl apply`.

kubectl uses sigs.k8s.io/yaml, which resolves scalars like go-yaml v2: `yes` and `on` are true, `010` is 8,
`1_000` is 1000, `1e4` is a number, and dates and `1:30` are text. PyYAML parses the file; this module resolves
scalars. Of duplicate keys the last one counts. tests/unit/cli/test_cli_yaml.py compares all of this with kubectl.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Hashable, Iterator
from typing import Any, Final

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import ParserError

_TAG: Final = "tag:yaml.org,2002:"
_BOOLEANS: Final = {
    **{form: True for word in ("y", "yes", "true", "on") for form in (word, word.capitalize(), word.upper())},
    **{form: False for word in ("n", "no", "false", "off") for form in (word, word.capitalize(), word.upper())},
}
_NULLS: Final = ("", "~", "null", "Null", "NULL")
_NOT_JSON: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER: Final = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_BASES: Final = {"x": 16, "b": 2, "o": 8}
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_EXACT: Final = range(-(2**63), 2**63)
"""Integers that Kubernetes keeps as integers; others become floats."""
_WHOLE: Final = 1e21
"""From here on Go writes whole floats with an exponent."""


def read_documents(text: str) -> list[Any]:
    """The documents of a file, of JSON's types alone. Raises `yaml.YAMLError` and `RecursionError`."""
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        try:
            return [_plain(json.loads(text.lstrip("\ufeff")))]
        except ValueError:
            pass  # flow style that is not JSON, or several documents
    loader: Any = _Loader(text)  # PyYAML has no types
    try:
        documents = []
        while loader.check_data():
            documents.append(loader.get_data())
        return documents
    finally:
        loader.dispose()


def number(word: str) -> int | float | None:
    """A plain scalar as a number; None if it is not one."""
    if word[:1] not in "+-.0123456789":
        return None
    plain = word.replace("_", "")
    if found := _INTEGER.fullmatch(plain):
        sign, digits = found[1], found[2].lower()
        base = _BASES.get(digits[1:2], 8 if digits.startswith("0") and len(digits) > 1 else 10)
        value = int(sign + digits, base)
        return value if value in _EXACT else whole(float(value))
    if _FLOAT.fullmatch(plain) and math.isfinite(value_ := float(plain)):
        return whole(value_)
    return None


def whole(value: float) -> int | float:
    """A float as JSON writes it: 10000.0 is 10000."""
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return whole(value) if isinstance(value, float) and math.isfinite(value) else value


class _Loader(yaml.SafeLoader):
    """Resolves and constructs as kubectl does."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        """The tag of an untagged node."""
        if kind is ScalarNode:
            return _resolved(value) if implicit[0] else f"{_TAG}str"
        return f"{_TAG}map" if kind is MappingNode else f"{_TAG}seq"

    def process_directives(self) -> Any:
        """The directives of a document. Raises `ParserError` for another version than 1.1."""
        found = super().process_directives()  # type: ignore[no-untyped-call]
        if self.yaml_version not in (None, (1, 1)):
            raise ParserError(None, None, "found incompatible YAML document", None)
        return found

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping whose keys are text, as in JSON. What is merged in (`<<`) counts where it stands."""
        made: dict[Hashable, Any] = {}
        for key, value in node.value:
            if key.tag != f"{_TAG}merge":
                made[_key(self.construct_object(key, deep=True), key)] = self.construct_object(value, deep=deep)
                continue
            for merged in reversed(value.value) if isinstance(value, SequenceNode) else [value]:
                if not isinstance(merged, MappingNode):
                    raise ConstructorError(None, None, "only mappings can be merged", merged.start_mark)
                made.update(self.construct_mapping(merged, deep=True))
        return made


def _resolved(word: str) -> str:
    if word in _BOOLEANS:
        return f"{_TAG}bool"
    if word in _NULLS:
        return f"{_TAG}null"
    if word == "<<":
        return f"{_TAG}merge"
    if number(word) is not None or _NOT_JSON.fullmatch(word):
        return f"{_TAG}float"
    return f"{_TAG}str"


def _key(key: Any, node: Node) -> str:
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, (str, int, float)):
        return str(key)
    raise ConstructorError(None, None, "a key is not a string", node.start_mark)


def _bool(_: _Loader, node: ScalarNode) -> bool:
    if node.value not in _BOOLEANS:
        raise ConstructorError(None, None, "this is neither true nor false", node.start_mark)
    return _BOOLEANS[node.value]


def _number(_: _Loader, node: ScalarNode) -> int | float:
    found = number(node.value)
    if found is None:
        raise ConstructorError(None, None, "this number has no JSON form", node.start_mark)
    return found


def _binary(_: _Loader, node: ScalarNode) -> str:
    try:
        return base64.b64decode(node.value, validate=False).decode(errors="replace")
    except binascii.Error:
        raise ConstructorError(None, None, "this is not base64", node.start_mark) from None


def _map(loader: _Loader, node: MappingNode) -> Iterator[dict[Hashable, Any]]:
    made: dict[Hashable, Any] = {}
    yield made
    made.update(loader.construct_mapping(node))


def _any(loader: _Loader, _suffix: str, node: Node) -> Any:
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.yaml_constructors = {
    f"{_TAG}bool": _bool,
    f"{_TAG}int": _number,
    f"{_TAG}float": _number,
    f"{_TAG}null": lambda _loader, _node: None,
    f"{_TAG}binary": _binary,
    f"{_TAG}map": _map,
    f"{_TAG}seq": yaml.SafeLoader.construct_yaml_seq,
}
_Loader.yaml_multi_constructors = {"": _any}

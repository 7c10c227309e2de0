"""Turns pydantic types into the structural OpenAPI v3 schemas that a CustomResourceDefinition takes. Pure.

The API server accepts a subset of JSON Schema (KEP-1979, "structural schemas"): no `$ref`, no null type, no free
unions. A type that cannot be converted is an error, rather than a schema that silently accepts more than the type.
Every list, map and string must have a maximum, since the API server bounds the cost of CEL rules by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from kinema_api.errors import UnstructuralSchema

Schema = dict[str, Any]

_RULES: Final = "x-kubernetes-validations"
_DROPPED: Final = frozenset({"title", "examples", "$defs"})
_KEPT: Final = frozenset(
    {
        "type",
        "format",
        "description",
        "default",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
        "nullable",
    }
)
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})


def structural_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of a type, by the names it has on the wire.

    Raises:
        UnstructuralSchema: naming the field that a CRD cannot express, and what to write instead.
    """
    source = model.model_json_schema(by_alias=True, mode="validation")
    return convert(source, source.get("$defs", {}), model.__name__)


def convert(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str = "") -> Schema:
    """One node of JSON Schema (draft 2020-12, as pydantic writes it) as a structural schema.

    Raises:
        UnstructuralSchema: naming the path of the node that a CRD cannot express.
    """
    return _convert(node, definitions, path, ())


def without_defaults(schema: Mapping[str, Any]) -> Schema:
    """The same schema without defaults, so that the API server adds nothing to a status."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {name: without_defaults(child) for name, child in result["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), Mapping):
            result[key] = without_defaults(result[key])
    return result


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str, open_refs: tuple[str, ...]) -> Schema:
    flat, open_refs = _flatten(node, definitions, path, open_refs)

    def child(schema: Mapping[str, Any], name: str) -> Schema:
        return _convert(schema, definitions, f"{path}{name}", open_refs)

    result: Schema = {}
    for key, value in flat.items():
        if key in _DROPPED:
            continue
        if key in _KEPT or key.startswith("x-kubernetes-"):
            result[key] = value
        elif key == "const":
            result["enum"] = [value]
        elif key in ("exclusiveMinimum", "exclusiveMaximum"):
            _exclusive_bound(result, key, value)
        elif key not in ("properties", "additionalProperties", "items", "anyOf"):
            raise UnstructuralSchema(f"{path}: a CRD cannot express {key!r}; use a type without it")
    if "description" in result:
        result["description"] = " ".join(str(result["description"]).split())
    _drop_nulls_of_default(result)
    _convert_children(flat, result, child, path)
    return _in_order(result)


def _flatten(
    node: Mapping[str, Any], definitions: Mapping[str, Any], path: str, open_refs: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    """`node` with references, single-branch unions and null branches resolved; its own keywords win."""
    flat = dict(node)
    while True:
        if "$ref" in flat:
            name = str(flat.pop("$ref")).rsplit("/", 1)[-1]
            if name in open_refs:
                raise UnstructuralSchema(f"{path}: {name} contains itself, which a CRD cannot express; bound its depth")
            open_refs = (*open_refs, name)
            flat = _merged(definitions[name], flat)
        elif len(flat.get("allOf", ())) == 1:
            flat = _merged(flat.pop("allOf")[0], flat)
        elif "anyOf" in flat or "oneOf" in flat:
            branches = [b for b in flat.pop("anyOf", None) or flat.pop("oneOf") if b.get("type") != "null"]
            if len(branches) != 1:
                return _int_or_string(flat, branches, path), open_refs
            flat = _merged(branches[0], flat)
        else:
            return flat, open_refs


def _merged(inner: Mapping[str, Any], outer: Mapping[str, Any]) -> Schema:
    """`inner` with the keywords of `outer` added or replaced, and the CEL rules of both."""
    merged = {**inner, **outer}
    rules = [*inner.get(_RULES, ()), *outer.get(_RULES, ())]
    return {**merged, _RULES: rules} if rules else merged


def _int_or_string(flat: Schema, branches: list[Mapping[str, Any]], path: str) -> Schema:
    """A union of integer and string, the only one that structural schemas know."""
    if sorted(str(b.get("type")) for b in branches) != ["integer", "string"]:
        raise UnstructuralSchema(f"{path}: a CRD has no union but integer or string; use one type, or two fields")
    bound = next(b for b in branches if b.get("type") == "string").get("maxLength", flat.pop("maxLength", None))
    if bound is None:
        raise UnstructuralSchema(f"{path}: the string has no maximum; give it a max_length")
    # The bound is outside the union: inside anyOf a structural schema may only name the types.
    return {
        **flat,
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "maxLength": bound,
    }


def _exclusive_bound(result: Schema, key: str, value: Any) -> None:
    """OpenAPI v3.0 writes exclusive bounds as a number and a flag."""
    inclusive = "minimum" if key == "exclusiveMinimum" else "maximum"
    tighter = max if inclusive == "minimum" else min
    bound = result.get(inclusive)
    if bound is None or tighter(bound, value) == value:
        result[inclusive] = value
        result[key] = True


def _drop_nulls_of_default(result: Schema) -> None:
    """A null default means no default; a null inside one means that the field is absent."""
    if "default" not in result:
        return
    default = _without_nulls(result.pop("default"))
    if default is not None:
        result["default"] = default


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _convert_children(
    flat: Mapping[str, Any], result: Schema, child: Callable[[Mapping[str, Any], str], Schema], path: str
) -> None:
    kind = result.get("type")
    if kind == "array":
        _require(result, "maxItems", path, "max_length")
        result["items"] = child(flat.get("items", {}), "[]")
    elif kind == "object":
        _convert_object(flat, result, child, path)
    elif kind == "string":
        if "enum" not in result and "format" not in result:
            _require(result, "maxLength", path, "max_length")
    elif "x-kubernetes-int-or-string" in result:
        result["anyOf"] = flat["anyOf"]
    elif kind not in _SCALARS:
        raise UnstructuralSchema(f"{path}: a CRD needs one type per field; annotate it with a concrete type")


def _convert_object(
    flat: Mapping[str, Any], result: Schema, child: Callable[[Mapping[str, Any], str], Schema], path: str
) -> None:
    values = flat.get("additionalProperties")
    if isinstance(values, Mapping):
        _require(result, "maxProperties", path, "max_length")
        result["additionalProperties"] = child(values, ".*")
    elif "properties" in flat:
        result["properties"] = {name: child(schema, f".{name}") for name, schema in flat["properties"].items()}
    elif not result.get("x-kubernetes-preserve-unknown-fields"):
        raise UnstructuralSchema(f"{path}: an object needs fields or a type of value; use a model or dict[str, T]")


def _require(result: Schema, keyword: str, path: str, argument: str) -> None:
    if keyword not in result:
        raise UnstructuralSchema(f"{path}: no {keyword}; give the field a {argument}, which bounds the cost of rules")


def _in_order(schema: Schema) -> Schema:
    """Keywords in the order of interest to a reader, extensions last."""
    first = ("description", "type", "format", "default", "enum")
    last = ("required", "properties", "additionalProperties", "items", _RULES)
    rank = {key: index for index, key in enumerate(first)} | {key: 100 + index for index, key in enumerate(last)}
    return dict(sorted(schema.items(), key=lambda item: (rank.get(item[0], 50), item[0])))

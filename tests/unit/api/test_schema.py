"""The converter from types to structural schemas: each rule by a table, the whole by generated models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, create_model

from kinema_api.base import ApiModel, Matches, Quantity, cel_rules
from kinema_api.errors import UnstructuralSchema
from kinema_api.schema import convert, structural_schema, without_defaults

BOUNDED = {"type": "string", "maxLength": 3}

CONVERTED = [
    ("a null branch", {"anyOf": [BOUNDED, {"type": "null"}], "default": None}, BOUNDED),
    ("keywords beside a null branch", {"anyOf": [BOUNDED, {"type": "null"}], "title": "T"}, BOUNDED),
    ("a single branch of allOf", {"allOf": [BOUNDED], "default": "a"}, {**BOUNDED, "default": "a"}),
    ("a constant", {"const": "a", "type": "string"}, {"type": "string", "enum": ["a"]}),
    (
        "an exclusive minimum",
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "number", "minimum": 0, "exclusiveMinimum": True},
    ),
    (
        "an exclusive maximum",
        {"type": "number", "exclusiveMaximum": 9, "minimum": 1},
        {"type": "number", "minimum": 1, "maximum": 9, "exclusiveMaximum": True},
    ),
    (
        "the looser of two lower bounds",
        {"type": "number", "minimum": 5, "exclusiveMinimum": 1},
        {"type": "number", "minimum": 5},
    ),
    (
        "integer or string",
        {"anyOf": [{"type": "integer"}, BOUNDED]},
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "maxLength": 3},
    ),
    ("a format bounds a string", {"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
    (
        "nulls inside a default",
        {"type": "object", "properties": {"a": BOUNDED}, "default": {"a": None}},
        {"type": "object", "properties": {"a": BOUNDED}, "default": {}},
    ),
    (
        "a map",
        {"type": "object", "additionalProperties": BOUNDED, "maxProperties": 2},
        {"type": "object", "additionalProperties": BOUNDED, "maxProperties": 2},
    ),
    ("a list", {"type": "array", "items": BOUNDED, "maxItems": 2}, {"type": "array", "items": BOUNDED, "maxItems": 2}),
    ("extensions", {**BOUNDED, "x-kubernetes-map-type": "atomic"}, {**BOUNDED, "x-kubernetes-map-type": "atomic"}),
    ("a wrapped description", {**BOUNDED, "description": "one\n    two"}, {**BOUNDED, "description": "one two"}),
    ("a reference", {"$ref": "#/$defs/Short"}, BOUNDED),
    (
        "a reference with words of its own",
        {"$ref": "#/$defs/Short", "description": "d"},
        {**BOUNDED, "description": "d"},
    ),
]
REFUSED = [
    ("an unbounded string", {"type": "string"}, "maxLength"),
    ("an unbounded list", {"type": "array", "items": BOUNDED}, "maxItems"),
    ("an unbounded map", {"type": "object", "additionalProperties": BOUNDED}, "maxProperties"),
    ("a free union", {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, "no union but integer or string"),
    ("an unbounded quantity", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "the string has no maximum"),
    ("no type", {"description": "anything"}, "one type per field"),
    ("an object of anything", {"type": "object"}, "fields or a type of value"),
    ("distinct items", {"type": "array", "items": BOUNDED, "maxItems": 2, "uniqueItems": True}, "uniqueItems"),
    ("a tuple", {"type": "array", "prefixItems": [BOUNDED], "maxItems": 1}, "prefixItems"),
    ("patterns of keys", {"type": "object", "additionalProperties": BOUNDED, "propertyNames": {}}, "propertyNames"),
    ("itself", {"$ref": "#/$defs/Loop"}, "contains itself"),
]
DEFINITIONS = {"Short": BOUNDED, "Loop": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Loop"}}}}


@pytest.mark.parametrize(("node", "expected"), [case[1:] for case in CONVERTED], ids=[case[0] for case in CONVERTED])
def test_converts(node: dict[str, Any], expected: dict[str, Any]) -> None:
    assert convert(node, DEFINITIONS) == expected


@pytest.mark.parametrize(("node", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refuses_what_a_crd_cannot_express(node: dict[str, Any], words: str) -> None:
    with pytest.raises(UnstructuralSchema, match=words):
        convert(node, DEFINITIONS, "Kind")


def test_an_error_names_the_field() -> None:
    class Inner(ApiModel):
        some_text: str

    class Outer(ApiModel):
        inners: Annotated[tuple[Inner, ...], Field(max_length=3)]

    with pytest.raises(UnstructuralSchema, match=r"Outer\.inners\[\]\.someText: no maxLength"):
        structural_schema(Outer)


def test_a_type_by_its_names_on_the_wire() -> None:
    class Inner(ApiModel):
        """What is inside."""

        model_config = ConfigDict(json_schema_extra=cel_rules(("self.sizeLimit != 3", "not three")))

        size_limit: Quantity = 1
        """How much."""

    class Outer(ApiModel):
        """All of it."""

        inner: Inner = Inner()
        word: Annotated[str, Field(max_length=9), Matches("^a", "begin with a")] | None = None
        mode: Literal["x"] = "x"
        since: datetime | None = None

    assert structural_schema(Outer) == {
        "description": "All of it.",
        "type": "object",
        "properties": {
            "inner": {
                "description": "What is inside.",
                "type": "object",
                "default": {"sizeLimit": 1},
                "properties": {
                    "sizeLimit": {
                        "description": "How much.",
                        "default": 1,
                        "x-kubernetes-int-or-string": True,
                        "anyOf": [{"type": "integer"}, {"type": "string"}],
                        "maxLength": 32,
                    }
                },
                "x-kubernetes-validations": [{"rule": "self.sizeLimit != 3", "message": "not three"}],
            },
            "word": {
                "type": "string",
                "maxLength": 9,
                "x-kubernetes-validations": [{"rule": 'self.matches("^a")', "message": "begin with a"}],
            },
            "mode": {"type": "string", "default": "x", "enum": ["x"]},
            "since": {"type": "string", "format": "date-time"},
        },
    }


def test_rules_of_a_type_and_of_its_field_both_hold() -> None:
    inner = {"type": "object", "properties": {"a": BOUNDED}, **cel_rules(("first", "1"))}
    schema = convert({"$ref": "#/$defs/Inner", **cel_rules(("second", "2"))}, {"Inner": inner})
    assert [rule["rule"] for rule in schema["x-kubernetes-validations"]] == ["first", "second"]


def test_status_has_no_defaults() -> None:
    class Part(ApiModel):
        count: int = 1

    class Status(ApiModel):
        parts: Annotated[tuple[Part, ...], Field(max_length=3)] = ()
        counts: Annotated[dict[str, Part], Field(max_length=3)] = Field(default_factory=dict)
        default: Annotated[str, Field(max_length=3)] = "a"

    stripped = without_defaults(structural_schema(Status))
    assert list(_values_of("default", stripped)) == []
    assert "default" in stripped["properties"], "a field may be called default"


def _values_of(keyword: str, schema: dict[str, Any]) -> list[Any]:
    found = [schema[keyword]] if keyword in schema else []
    for child in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(child, dict):
            found += _values_of(keyword, child)
    return found


SCALARS = st.sampled_from(
    [
        int,
        float,
        bool,
        datetime,
        Quantity,
        Literal["a", "b"],
        Annotated[str, Field(max_length=8)],
        Annotated[int, Field(ge=1, lt=9)],
        Annotated[float, Field(gt=0)],
    ]
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda t: Annotated[tuple[t, ...], Field(max_length=4)]),  # type: ignore[valid-type]
        inner.map(lambda t: Annotated[dict[str, t], Field(max_length=4)]),  # type: ignore[valid-type]
        inner.map(lambda t: t | None),
        st.dictionaries(st.sampled_from(["first_field", "second", "third"]), inner, min_size=1).map(_model),
    )


def _model(fields: dict[str, Any]) -> type[BaseModel]:
    name = f"Model{abs(hash(tuple(sorted((key, repr(value)) for key, value in fields.items())))):x}"
    return create_model(name, __base__=ApiModel, **{key: (value, ...) for key, value in fields.items()})


MODELS = st.dictionaries(
    st.sampled_from(["some_field", "other", "third"]), st.recursive(SCALARS, _nested, max_leaves=8), min_size=1
).map(_model)


@given(MODELS)
def test_whatever_the_type_its_schema_is_structural(model: type[BaseModel]) -> None:
    schema = structural_schema(model)
    _assert_structural(schema)
    assert set(schema["properties"]) == {field.alias or name for name, field in model.model_fields.items()}


def _assert_structural(schema: dict[str, Any]) -> None:
    """The rules of KEP-1979 that pydantic's JSON Schema breaks, and the maxima that CEL's cost needs."""
    assert not {"$ref", "$defs", "allOf", "oneOf", "const", "title", "prefixItems"} & set(schema)
    if schema.get("x-kubernetes-int-or-string"):
        assert "type" not in schema
    else:
        assert "anyOf" not in schema
        assert schema["type"] in ("object", "array", "string", "integer", "number", "boolean")
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        assert schema.get(bound, True) is True
    if schema.get("type") == "array":
        assert schema["maxItems"] > 0
        _assert_structural(schema["items"])
    if schema.get("type") == "string":
        assert {"maxLength", "enum", "format"} & set(schema)
    assert not {"properties", "additionalProperties"} <= set(schema)
    for child in schema.get("properties", {}).values():
        _assert_structural(child)
    if "additionalProperties" in schema:
        assert schema["maxProperties"] > 0
        _assert_structural(schema["additionalProperties"])

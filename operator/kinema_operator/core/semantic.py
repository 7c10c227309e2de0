"""Compares the API server's object with the desired one, so that a restart writes nothing.

The server adds defaults, normalises quantities and omits zero values, so only fields of the desired object are
compared. This does not show fields that were removed from it since; for them an annotation has the digest of the
manifest that was applied last.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, get_args

from pydantic import BaseModel

from kinema_api import names
from kinema_api.quantity import quantity
from kinema_operator.core.plan import KubeObject

APPLIED_ANNOTATION: Final = f"{names.GROUP}/applied"
"""First hex digits of the sha256 of the manifest that was applied last."""
APPLIED_DIGITS: Final = 16

QUANTITY_MAPS: Final = frozenset({"limits", "requests", "capacity", "hard", "overhead"})
QUANTITY_FIELDS: Final = frozenset({"sizeLimit", "storage"})

MERGE_KEYS: Final = ("name", "uid", "containerPort", "port", "mountPath", "type", "topologyKey")
"""Fields by which the API server matches list items, in order of preference."""


def with_digest(manifest: KubeObject) -> dict[str, Any]:
    """`manifest` with its digest as an annotation."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:APPLIED_DIGITS]
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), APPLIED_ANNOTATION: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def covers(live: KubeObject, desired: KubeObject) -> bool:
    """Whether `live` has every field of `desired`; additional fields, such as defaults, are ignored."""
    if desired.get("stringData"):
        desired = _encoded(desired)
    return _covers(live, desired, "")


def _covers(live: Any, desired: Any, name: str) -> bool:
    if isinstance(desired, Mapping):
        if live is None:
            return all(_is_zero(value) for value in desired.values())
        if not isinstance(live, Mapping):
            return False
        if name in QUANTITY_MAPS:
            return all(key in live and _same_quantity(live[key], value) for key, value in desired.items())
        return all(
            _covers(live[key], value, key) if live.get(key) is not None else _is_zero(value)
            for key, value in desired.items()
        )
    if isinstance(desired, Sequence) and not isinstance(desired, str | bytes):
        return isinstance(live, Sequence) and not isinstance(live, str) and _covers_list(live, desired)
    if name in QUANTITY_FIELDS:
        return _same_quantity(live, desired)
    return (type(live) is type(desired) and bool(live == desired)) or _same_number(live, desired)


def _covers_list(live: Sequence[Any], desired: Sequence[Any]) -> bool:
    key = _merge_key(desired)
    if key is None:
        return len(live) == len(desired) and all(_covers(a, b, "") for a, b in zip(live, desired, strict=True))
    # Admission may add items to such lists (volumes, tolerations, mounts); ours must be included.
    by_key = {item.get(key): item for item in live if isinstance(item, Mapping)}
    return all(item[key] in by_key and _covers(by_key[item[key]], item, "") for item in desired)


def _merge_key(items: Sequence[Any]) -> str | None:
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    for key in MERGE_KEYS:
        values = [item.get(key) for item in items]
        if None not in values and len({str(value) for value in values}) == len(values):
            return key
    return None


def _is_zero(value: Any) -> bool:
    """Whether the API server omits such a value (Go's omitempty)."""
    if isinstance(value, Mapping):
        return all(_is_zero(inner) for inner in value.values())
    return value is None or value is False or value == 0 or value == "" or value == []


def _same_number(a: Any, b: Any) -> bool:
    numbers = (int, float)
    return isinstance(a, numbers) and isinstance(b, numbers) and not isinstance(a, bool | None) and bool(a == b)


def _same_quantity(a: Any, b: Any) -> bool:
    try:
        return quantity(a) == quantity(b)
    except ValueError:
        return bool(a == b)


def _encoded(secret: KubeObject) -> KubeObject:
    """A Secret as the API server stores it: `stringData` merged into `data`."""
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in secret["stringData"].items()}
    rest = {key: value for key, value in secret.items() if key != "stringData"}
    return {**rest, "data": {**(secret.get("data") or {}), **encoded}}


def merge_patch(old: KubeObject, new: KubeObject) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns `old` into `new`; empty if they are the same."""
    patch: dict[str, Any] = {}
    for key in old.keys() - new.keys():
        if old[key] is not None:
            patch[key] = None
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch


def keeping_unknown(before: KubeObject, after: KubeObject, model: type[BaseModel]) -> dict[str, Any]:
    """`after`, with the fields of `before` that `model` does not know: a newer operator may have written them."""
    known = _known(model)
    result = {**after, **{key: value for key, value in before.items() if key not in known}}
    for key, inner in known.items():
        old, new = before.get(key), after.get(key)
        if inner is None or old is None or new is None:
            continue
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            result[key] = keeping_unknown(old, new, inner)
        elif isinstance(new, Sequence) and isinstance(old, Sequence):
            result[key] = [_keeping_item(old, item, inner) for item in new]
    return result


def _keeping_item(before: Sequence[Any], item: Any, model: type[BaseModel]) -> Any:
    if not isinstance(item, Mapping):
        return item
    known = _known(model)
    same = (
        old
        for old in before
        if isinstance(old, Mapping)
        and (old["type"] == item["type"] if "type" in old and "type" in item else _reduced(old, known) == item)
    )
    found = next(same, None)
    return item if found is None else keeping_unknown(found, item, model)


def _reduced(value: KubeObject, known: Mapping[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key in known}


@cache
def _known(model: type[BaseModel]) -> Mapping[str, type[BaseModel] | None]:
    """The wire names of a model's fields, each with the model in it, if any."""
    return {field.alias or name: _model_of(field.annotation) for name, field in model.model_fields.items()}


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model in a field: directly, optional, or as an item of a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_of(inner))), None)

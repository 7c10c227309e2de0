"""Reads the committed report on a model, for the evaluator (to avoid a second evaluation) and for the control plane."""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from kinema_api import layout
from kinema_api.errors import BrokenManifest, ObjectMissing, ObjectTooLarge
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.wire import EvaluationResult


def read_result(store: ObjectStore, prefix: str) -> EvaluationResult | None:
    """The result of the report below `prefix`; None if there is no complete report. Blocks.

    Raises:
        StorageError: the store cannot be used now.
    """
    key = prefix + layout.MANIFEST
    try:
        manifest = Manifest.read(store, key)
        content = store.get(prefix + layout.EVALUATION_RESULT)
    except (ObjectMissing, ObjectTooLarge, BrokenManifest):
        return None
    promised = {file.name: file.sha256 for file in manifest.files}
    if manifest.kind != "evaluation" or promised.get(layout.EVALUATION_RESULT) != hashlib.sha256(content).hexdigest():
        return None
    try:
        return EvaluationResult.model_validate_json(content)
    except ValidationError:
        return None

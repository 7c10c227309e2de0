"""Reads manifest files and validates them before any request to a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from kinema_api import training
from kinema_api.errors import InvalidManifest
from kinema_api.names import API_VERSION, MAX_NAME_LENGTH
from kinema_api.training import VideoModelTraining
from kinema_cli.errors import BadManifest
from kinema_cli.yaml_files import read_documents


def read_training(path: str, run_id: str | None) -> dict[str, Any]:
    """The VideoModelTraining in a YAML or JSON file (`-`: standard input), with `run_id` if given.

    Raises:
        BadManifest: the file is not a valid VideoModelTraining; names the field.
    """
    documents = [d for d in _documents(path) if d is not None]
    if len(documents) != 1 or not isinstance(documents[0], dict) or documents[0].get("kind") != training.KIND:
        raise BadManifest(f"{path} must hold exactly one {training.KIND}; move other objects to other files")
    body: dict[str, Any] = documents[0]
    if body.get("apiVersion") != API_VERSION:
        raise BadManifest(f"{path}: apiVersion is {body.get('apiVersion')!r}; write {API_VERSION}")
    name = (body.get("metadata") or {}).get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise BadManifest(f"{path}: metadata.name must have 1 to {MAX_NAME_LENGTH} characters; choose another name")
    if run_id is not None:
        body["spec"] = {**(body.get("spec") or {}), "runId": run_id}
    try:
        VideoModelTraining.parse(body)
    except InvalidManifest as error:
        raise BadManifest(f"{path}: {error}") from None
    body.pop("status", None)
    return body


def _documents(path: str) -> list[Any]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return read_documents(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BadManifest(f"{path} cannot be read ({reason}); name a YAML file, or - for standard input") from None
    except RecursionError:
        raise BadManifest(f"{path} is nested too deeply to be read; name a YAML file with one object") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" near line {where.line + 1}" if where else ""
        raise BadManifest(f"{path} is not YAML{line}; correct it and try again") from None

"""What the storage keys of a training's pods allow: prefixes to write, and prefixes to read alone. Pure.

Each Secret of keys has a scope that is as narrow as the work of its pods: trainers and evaluators write below the
training and read this run's datasets and base, the publisher reads one export and writes one model, and those that
prepare clips read the folders of the spec and write datasets of the namespace. No keys allow to delete.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from kinema_api import layout
from kinema_api.launch import run_base
from kinema_api.prefix_uri import bucket_and_prefix
from kinema_api.training import VideoModelTraining

_FOLDER_CHARACTERS: Final = 32
"""Hex digits of a dataset's folder in a scope: enough to name one folder, and short, since a session policy is."""


@dataclass(frozen=True)
class Scope:
    """Prefixes of the bucket."""

    write: tuple[str, ...]
    """Read, written and listed."""
    append: tuple[str, ...] = ()
    """Read and written, but not listed."""
    read: tuple[str, ...] = ()
    """Read alone, file by file."""
    browse: tuple[str, ...] = ()
    """Read and listed."""

    @property
    def digest(self) -> str:
        """Short digest, by which a Secret with the keys of another scope is known."""
        parts = [sorted(part) for part in (self.write, self.append, self.read, self.browse)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def of_trainers(training: VideoModelTraining) -> Scope:
    """Trainers and evaluators of the current run."""
    made = training.status.dataset.datasets if training.status.dataset else ()
    base = run_base(training.status.base)
    return Scope(
        write=(_own(training),),
        read=tuple(dict.fromkeys(_dataset(dataset.prefix) for dataset in made)),
        browse=(base.prefix,) if base else (),
    )


def of_publisher(training: VideoModelTraining, digest: str) -> Scope:
    """The publisher of the model `digest` of the current attempt."""
    meta, at = training.metadata, (training.status.run, training.status.attempt)
    attempt = layout.attempt_prefix(meta.namespace, meta.name, training.artifacts.uid, *at)
    return Scope(write=(layout.export_prefix(attempt), layout.model_prefix(digest)))


def of_preparers(training: VideoModelTraining) -> Scope:
    """Those that prepare the recorded clips of the current run."""
    meta = training.metadata
    run = layout.run_prefix(meta.namespace, meta.name, training.artifacts.uid, training.status.run)
    return Scope(
        write=(layout.datasets_prefix(meta.namespace),),
        append=(run,),
        browse=tuple(bucket_and_prefix(clips.uri)[1] for clips in training.spec.data.videos),
    )


def _own(training: VideoModelTraining) -> str:
    return layout.training_prefix(training.metadata.namespace, training.metadata.name, training.artifacts.uid)


def _dataset(prefix: str) -> str:
    rights = layout.dataset_rights(prefix)
    above, _, folder = rights.rstrip("/").rpartition("/")
    return f"{above}/{folder[:_FOLDER_CHARACTERS]}" if len(folder) > _FOLDER_CHARACTERS else rights

"""A bucket in the suite's MinIO, and a published model of the tiny preset that was never trained."""

from __future__ import annotations

from pathlib import Path

import torch

from kinema_api import layout
from kinema_api.base import utc_now
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore
from kinema_jobs.model_folder import sha256_of
from kinema_model.artefact import save_model
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser


def publish(store: ObjectStore, folder: Path) -> Manifest:
    """Write the model to `folder` and publish it; its manifest."""
    config = ModelConfig.from_preset("tiny")
    torch.manual_seed(0)
    save_model(folder, dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests")
    files = tuple(
        ManifestFile(name=p.name, sha256=sha256_of(p), bytes=p.stat().st_size) for p in sorted(folder.iterdir())
    )
    made = Manifest(
        kind="model", files=files, run=1, attempt=1, round=1, step=1, world_size=1, samples=1, created=utc_now()
    )
    prefix = layout.model_prefix(made.digest())
    for file in files:
        store.put_file(prefix + file.name, folder / file.name)
    store.put(prefix + layout.MANIFEST, made.to_bytes())
    return made

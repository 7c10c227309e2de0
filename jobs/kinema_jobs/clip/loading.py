"""Loads the model in a folder: one that Kinema trained, or open weights in the diffusers format."""

from __future__ import annotations

from pathlib import Path

from kinema_jobs.clip.model import ClipModel
from kinema_jobs.clip.rendering import TrainedModel, open_pipeline
from kinema_jobs.model_folder import is_open


def open_model(folder: Path) -> ClipModel:
    """The model in `folder`, whose files have been compared with its manifest.

    Raises as `kinema_jobs.clip.rendering.open_pipeline`, or as `kinema_jobs.clip.open_weights.open_weights`.
    """
    if is_open(folder):
        # Only servers of open weights spend the time to import what reads them.
        from kinema_jobs.clip.open_weights import open_weights

        return open_weights(folder)
    return TrainedModel(open_pipeline(folder))

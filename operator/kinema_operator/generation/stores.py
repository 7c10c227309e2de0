"""Which model a request is for, and in which object stores its weights and its clip lie.

Both stores are written into the status when the request is accepted. From then on the VideoModel may change or go: what
was rendered is looked for, and signed, where it lies.
"""

from __future__ import annotations

from kinema_api import serving
from kinema_api.base import ArtifactStore
from kinema_api.errors import InvalidManifest
from kinema_api.generation import VideoGeneration
from kinema_api.serving import VideoModel
from kinema_operator.controller import Cache


def weights_store(generation: VideoGeneration, model: VideoModel | None) -> ArtifactStore | None:
    """The store that the weights of a request's model lie in; None: the operator's."""
    if generation.status.stores is not None:
        return generation.status.stores.weights
    return model.spec.artifact_store if model else None


def clip_store(generation: VideoGeneration, model: VideoModel | None) -> ArtifactStore | None:
    """The store that a clip goes to: its own, else the model's, else (None) the operator's."""
    if generation.status.stores is not None:
        return generation.status.stores.clips
    return generation.spec.artifact_store or weights_store(generation, model)


def find_model(generation: VideoGeneration, cache: Cache) -> VideoModel | None:
    """The VideoModel that the request names, or None if there is none that can be read."""
    found = cache.get(serving.KIND, generation.metadata.namespace, generation.spec.model_ref.name)
    try:
        return VideoModel.parse(found) if found else None
    except InvalidManifest:
        return None

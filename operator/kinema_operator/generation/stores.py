"""Which model a request is for, and in which object stores its weights and its clip lie.

Both stores are written into the status when the request is accepted. From then on the VideoModel may change or go: what
was rendered is looked for, and signed, where it lies. Of a store that is still named, the authorities are the newest:
certificates are renewed, and a clip must not be lost with an old one.
"""

from __future__ import annotations

from kinema_api import serving
from kinema_api.base import ArtifactStore
from kinema_api.errors import InvalidManifest
from kinema_api.generation import VideoGeneration
from kinema_api.serving import VideoModel
from kinema_operator.core.controller import Cache


def weights_store(generation: VideoGeneration, model: VideoModel | None) -> ArtifactStore | None:
    """The store that the weights of a request's model lie in; None: the operator's."""
    if generation.status.stores is not None:
        return _renewed(generation.status.stores.weights, model.spec.artifact_store if model else None)
    return model.spec.artifact_store if model else None


def clip_store(generation: VideoGeneration, model: VideoModel | None) -> ArtifactStore | None:
    """The store that a clip goes to: its own, else the model's, else (None) the operator's."""
    if generation.status.stores is not None:
        named = model.spec.artifact_store if model else None
        return _renewed(generation.status.stores.clips, generation.spec.artifact_store, named)
    return generation.spec.artifact_store or weights_store(generation, model)


def _renewed(pinned: ArtifactStore | None, *named: ArtifactStore | None) -> ArtifactStore | None:
    return next((store for store in named if store and pinned and store.is_same_place(pinned)), pinned)


def find_model(generation: VideoGeneration, cache: Cache) -> VideoModel | None:
    """The VideoModel that the request names, or None if there is none that can be read."""
    found = cache.get(serving.KIND, generation.metadata.namespace, generation.spec.model_ref.name)
    try:
        return VideoModel.parse(found) if found else None
    except InvalidManifest:
        return None

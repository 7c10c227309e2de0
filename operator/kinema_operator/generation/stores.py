"""The model of a request, and the object stores of its weights and its clip.

Both stores are written into the status when the request is accepted, so the VideoModel may change or be deleted
afterwards. The CA certificates are taken from the current spec if it still names the store, since they are renewed.
"""

from __future__ import annotations

from kinema_api import layout, serving
from kinema_api.base import ArtifactStore
from kinema_api.errors import InvalidManifest
from kinema_api.generation import VideoGeneration
from kinema_api.objectstore import ObjectStore
from kinema_api.serving import VideoModel
from kinema_operator.core.controller import Cache
from kinema_operator.core.stores import folder_prefix


def weights_store(generation: VideoGeneration, model: VideoModel | None) -> ArtifactStore | None:
    """The store of the weights of a request's model; None: the operator's."""
    if generation.status.stores is not None:
        return _renewed(generation.status.stores.weights, model.spec.artifact_store if model else None)
    return model.spec.artifact_store if model else None


def clip_store(generation: VideoGeneration, model: VideoModel | None) -> ArtifactStore | None:
    """The store of a clip: the request's, else the model's, else (None) the operator's."""
    if generation.status.stores is not None:
        named = model.spec.artifact_store if model else None
        return _renewed(generation.status.stores.clips, generation.spec.artifact_store, named)
    return generation.spec.artifact_store or weights_store(generation, model)


def weights_prefix(generation: VideoGeneration, model: VideoModel | None, store: ObjectStore, digest: str) -> str:
    """Prefix of the files of a request's model in `store`, which is that of its weights.

    Raises:
        FolderNotAllowed: the namespace may not read the folder.
    """
    pinned = generation.status.stores
    folder = pinned.folder if pinned is not None else model.status.given_folder if model else None
    if folder is None:
        return layout.model_prefix(digest)
    named = weights_store(generation, model)
    return folder_prefix(folder, generation.metadata.namespace, store.location.bucket, named)


def _renewed(pinned: ArtifactStore | None, *named: ArtifactStore | None) -> ArtifactStore | None:
    return next((store for store in named if store and pinned and store.is_same_place(pinned)), pinned)


def find_model(generation: VideoGeneration, cache: Cache) -> VideoModel | None:
    """The VideoModel of the request, or None if it does not exist or cannot be parsed."""
    found = cache.get(serving.KIND, generation.metadata.namespace, generation.spec.model_ref.name)
    try:
        return VideoModel.parse(found) if found else None
    except InvalidManifest:
        return None

"""Resolves the base of a training on this machine, as the operator does when a run begins."""

from __future__ import annotations

from kinema_api import layout
from kinema_api.errors import BrokenManifest, ObjectMissing, ObjectTooLarge
from kinema_api.finetune import MAX_MODEL_CONFIG_BYTES, MODEL_CONFIG, BaseStatus, base_clip
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.prefix_uri import bucket_and_prefix
from kinema_api.training import VideoModelTraining
from kinema_jobs.train.failures import BadConfiguration


def with_base(training: VideoModelTraining, store: ObjectStore) -> VideoModelTraining:
    """The training, whose status names the model that its spec.model.initFrom means.

    Raises:
        BadConfiguration: there is no such model in the store.
        StorageError: the store cannot be used now.
    """
    wanted = training.spec.model.init_from
    if wanted is None:
        return training
    if wanted.model is not None:
        raise BadConfiguration(
            f"spec.model.initFrom.model {wanted.model!r} is an object of a cluster: name the digest of its model, "
            "which must lie in the store of this run"
        )
    if wanted.digest is not None:
        prefix = layout.model_prefix(wanted.digest)
    else:
        bucket, prefix = bucket_and_prefix(wanted.folder or "")
        if bucket != store.location.bucket:
            raise BadConfiguration(
                f"spec.model.initFrom.folder lies in the bucket {bucket!r}: copy it into the run's own bucket, "
                f"{store.location.bucket!r}"
            )
    try:
        digest = Manifest.read(store, prefix + layout.MANIFEST).digest()
        clip = base_clip(store.get(prefix + MODEL_CONFIG, MAX_MODEL_CONFIG_BYTES))
    except (ObjectMissing, ObjectTooLarge, BrokenManifest, ValueError) as error:
        raise BadConfiguration(f"spec.model.initFrom: {error}") from None
    base = BaseStatus(digest=digest, uri=f"s3://{store.location.bucket}/{prefix}", clip=clip)
    status = training.status.model_copy(update={"base": base})
    return training.model_copy(update={"status": status})

"""VideoModel: a published model and the servers that serve it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from kinema_api import layout
from kinema_api.base import (
    ApiModel,
    ArtifactStore,
    Conditions,
    Digest,
    NodeSelector,
    ObjectMeta,
    ResourceName,
    Uri,
    cel_rules,
)
from kinema_api.card import ModelCard
from kinema_api.pod_template import PodTemplate, effective, given_once, require_given_once
from kinema_api.prefix_uri import PrefixUri
from kinema_api.resources import Resources

KIND: Final = "VideoModel"
PLURAL: Final = "videomodels"

ModelPhase = Literal["Pending", "ScaledToZero", "Starting", "Serving"]


class ModelSource(ApiModel):
    """Source of the model: exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "[has(self.training), has(self.digest), has(self.folder)].filter(named, named).size() == 1",
                "source has exactly one of training, digest and folder: keep one",
            )
        )
    )

    training: ResourceName | None = None
    """A training in the same namespace; its last published model is served."""
    digest: Digest | None = None
    """Digest of a published model."""
    folder: PrefixUri | None = None
    """s3://BUCKET/PREFIX/ in the model's store: weights in the diffusers format with a manifest, as `kinema upload`
    writes them. In the operator's own store, only prefixes below inputs/NAMESPACE/ and shared/ are allowed."""


class Serving(ApiModel):
    """Number and resources of the servers."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "self.minReplicas <= self.maxReplicas",
                "minReplicas must not exceed maxReplicas: lower minReplicas or raise maxReplicas",
            ),
            *given_once(),
        )
    )

    min_replicas: Annotated[int, Field(ge=0, le=100)] = 0
    """Least servers, also without requests; 0 scales to zero."""
    max_replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Most servers."""
    idle_seconds: Annotated[int, Field(ge=0, le=86400)] = 300
    """Seconds without a request after which the number of servers is scaled down to minReplicas."""
    resources: Resources | None = None
    """Compute resources of the server container; podTemplate.resources wins."""
    node_selector: NodeSelector | None = None
    """Labels that a node must have; podTemplate.nodeSelector wins."""
    pod_template: PodTemplate | None = None
    """What else the servers' pods have. A change replaces the servers one by one."""

    @model_validator(mode="after")
    def _given_once(self) -> Self:
        require_given_once(self.resources, self.node_selector, self.pod_template)
        return self

    @property
    def template(self) -> PodTemplate:
        """The pod template, with the older fields beside it where it says nothing."""
        return effective(self.pod_template or PodTemplate(), self.resources, self.node_selector)


class VideoModelSpec(ApiModel):
    """The model and how it is served."""

    source: ModelSource
    """Source of the model."""
    serving: Serving = Serving()
    """Number and resources of the servers."""
    artifact_store: ArtifactStore | None = None
    """Object store of the model; default: the operator's."""


class VideoModelStatus(ApiModel):
    """Observed state of a model."""

    phase: ModelPhase = "Pending"
    """Pending: no digest yet; ScaledToZero: no server; Starting: no server is ready; Serving: a server is ready."""
    observed_generation: int = 0
    """metadata.generation that this status was computed from."""
    conditions: Conditions = ()
    """Resolved (the digest is known), Available (a server is ready), RolledOut (servers of the newest digest are
    ready); for tools Ready, Reconciling, Stalled; and Refused (the API server refused an object that the operator
    wrote)."""
    digest: Digest | None = None
    """Digest that is served."""
    former: Digest | None = None
    """Digest that new requests use until the first server of the newest one is ready."""
    uri: Uri | None = None
    """Folder of the model."""
    bytes: Annotated[int, Field(ge=0)] | None = None
    """Size of the folder's files in bytes, for which servers get room on their nodes' disks."""
    card: ModelCard | None = None
    """What a folder of open weights says of itself."""
    replicas: int = 0
    """Desired servers."""
    ready_replicas: int = 0
    """Ready servers."""
    waiting: int = 0
    """Requests that are queued or running."""
    last_active_time: datetime | None = None
    """When a request was last queued or running."""

    @property
    def given_digest(self) -> str | None:
        """The digest that a request accepted now is rendered with."""
        return self.former or self.digest

    @property
    def given_folder(self) -> str | None:
        """s3://BUCKET/PREFIX/ of that model if it is not a published one below models/."""
        if self.former or not self.digest or not self.uri:
            return None
        published = layout.model_prefix(self.digest)
        return None if f"{self.uri.rstrip('/')}/".endswith(f"/{published}") else self.uri


class VideoModel(ApiModel):
    """A published model and its servers."""

    metadata: ObjectMeta
    spec: VideoModelSpec
    status: VideoModelStatus = VideoModelStatus()

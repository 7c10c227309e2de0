"""VideoModel: a model by digest, and how it is served."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

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
from kinema_api.resources import Resources

KIND: Final = "VideoModel"
PLURAL: Final = "videomodels"

ModelPhase = Literal["Pending", "ScaledToZero", "Starting", "Serving"]


class ModelSource(ApiModel):
    """Where the model comes from: exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("has(self.training) != has(self.digest)", "give exactly one of source.training and source.digest")
        )
    )

    training: ResourceName | None = None
    """A training of the same namespace, whose last published digest is followed."""
    digest: Digest | None = None
    """A published model by its digest."""


class Serving(ApiModel):
    """How many servers run, and when."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "self.minReplicas <= self.maxReplicas",
                "minReplicas must not exceed maxReplicas: lower minReplicas or raise maxReplicas",
            )
        )
    )

    min_replicas: Annotated[int, Field(ge=0, le=100)] = 0
    """Servers kept when nobody asks; 0 scales to zero."""
    max_replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Most servers at a time."""
    idle_seconds: Annotated[int, Field(ge=0, le=86400)] = 300
    """Seconds without a request after which the servers above minReplicas end."""
    resources: Resources | None = None
    """Compute resources of a server's container."""
    node_selector: NodeSelector | None = None
    """Labels that a node must have."""


class VideoModelSpec(ApiModel):
    """Where the model comes from and how it is served."""

    source: ModelSource
    """Where the model comes from."""
    serving: Serving = Serving()
    """How many servers run, and when."""
    artifact_store: ArtifactStore | None = None
    """Object store that holds the model; default: the operator's."""


class VideoModelStatus(ApiModel):
    """What was seen of a model."""

    phase: ModelPhase = "Pending"
    """Pending: no digest yet; ScaledToZero; Starting; Serving: a server is ready."""
    observed_generation: int = 0
    """Generation of the spec that this status speaks of."""
    conditions: Conditions = ()
    """Resolved (there is a digest), Available (a server is ready), RolledOut (servers of the newest digest serve); for
    tools Ready, Reconciling, Stalled, and Refused (an object that the API server does not take)."""
    digest: Digest | None = None
    """Digest that is served."""
    former: Digest | None = None
    """Digest that new requests get until the first server of the newest one is ready."""
    uri: Uri | None = None
    """Folder of the model."""
    replicas: int = 0
    """Servers asked for."""
    ready_replicas: int = 0
    """Servers ready."""
    waiting: int = 0
    """Requests that run or wait for a server."""
    last_active_time: datetime | None = None
    """When a request was last waiting or running."""

    @property
    def given_digest(self) -> str | None:
        """The digest that a request gets that is accepted now."""
        return self.former or self.digest


class VideoModel(ApiModel):
    """A model by digest and how it is served."""

    metadata: ObjectMeta
    spec: VideoModelSpec
    status: VideoModelStatus = VideoModelStatus()

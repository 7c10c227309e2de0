"""Typed settings of the operator; every field is an environment variable with the prefix KINEMA_."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kinema_api.base import CaBundle

ObjectName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")]
WorkerUser = Literal["random", "platform"] | Annotated[int, Field(ge=1, le=2**31 - 1)]


class Settings(BaseSettings):
    """Read once at start. The chart sets these from its values."""

    model_config = SettingsConfigDict(env_prefix="KINEMA_", frozen=True)

    watch_namespace: str | None = None
    """Watch this namespace only; unset: all namespaces."""
    pod_namespace: str = "kinema-system"
    """Namespace of the operator itself, where its Lease lives."""
    identity: str = Field(default_factory=socket.gethostname)
    """Name of this replica in the Lease: its pod name."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object per line, or plain text."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are logged."""

    reconcile_concurrency: int = Field(default=64, ge=1)
    """Resources reconciled at a time; one namespace gets at most half of the workers that others leave free."""
    backoff_initial_seconds: float = 0.5
    """Wait after the first failed reconcile of a key; doubles up to backoff_max_seconds."""
    backoff_max_seconds: float = 60.0
    """Longest wait after failed reconciles."""
    progress_interval_seconds: float = 5.0
    """Interval at which progress is requested from a running training or generation, and least time between writes."""
    api_timeout_seconds: float = 15.0
    """Time-out of one request to the API server."""
    pod_timeout_seconds: float = 3.0
    """Time-out of one request to a pod."""
    watch_stale_seconds: float = 120.0
    """A watch that has neither delivered nor ended for this long turns /readyz red."""

    lease_name: str = "kinema-operator"
    """Name of the leader's Lease."""
    lease_duration_seconds: int = 12
    """A leader that has not renewed for this long is replaced."""
    lease_renew_seconds: float = 3.0
    """Time between two renewals of the Lease."""

    claim_duration_seconds: int = Field(default=180, ge=3)
    """An install that has not renewed its claim on a namespace for this long is replaced by another that sees it."""

    health_port: int = 8080
    """/healthz and /readyz."""
    metrics_port: int = 9600
    """/metrics."""
    links: bool = True
    """Presign URLs of clips for clients with permission to read them (generation/links.py)."""
    links_port: int = 8081
    """Port for these requests. Clients reach it through the API server, so it serves nothing else."""
    status_urls: bool = False
    """Also put presigned URLs, which anyone who reads them can open, into the status of a generation."""
    metrics_authentication: bool = False
    """Serve /metrics only for bearer tokens whose owner may `get` the path /metrics according to RBAC."""

    worker_image: str = "localhost/kinema/worker:dev"
    """Image of trainers, rendezvous stores and servers."""
    worker_image_pull_policy: str = "IfNotPresent"
    """Pull policy of that image."""
    worker_runtime_class: str | None = None
    """RuntimeClass of worker pods, where the cluster needs one."""
    image_pull_secrets: tuple[ObjectName, ...] = ()
    """Secrets with registry credentials for worker pods, as a JSON list of names. They must exist in every namespace
    that has trainings or models: the operator copies no Secret."""
    worker_user: WorkerUser = "random"
    """User and group of worker pods: `random` (a high number of each resource's own), `platform` (no number, so that
    the image or an admission plugin such as OpenShift's restricted SCC chooses), or one number for all."""
    worker_cpu_threads: int = Field(default=1, ge=1)
    """OMP_NUM_THREADS of worker pods."""
    scratch_size_limit: str = "32Gi"
    """Most that a worker pod may write to /tmp; a served model is kept there."""
    shared_memory_size_limit: str = "1Gi"
    """Size of /dev/shm in worker pods; counts towards the container's memory."""

    store_endpoint: str = ""
    """Default object store: http(s)://host:port as pods reach it."""
    store_public_endpoint: str | None = None
    """Endpoint of the same store for clients outside the cluster."""
    store_bucket: str = "kinema"
    """Bucket of the default store."""
    store_region: str = "us-east-1"
    """Region that requests are signed for."""
    store_ca_bundle: CaBundle | None = None
    """CA certificates (PEM) to trust for the default store."""
    store_credentials_file: Path | None = None
    """File with a StoreCredentials JSON for the default store (a mounted Secret)."""
    store_generated_secret: str | None = None
    """Secret in the operator's namespace that is created with a random key if it does not exist (the chart's MinIO)."""
    allowed_stores: tuple[str, ...] = ()
    """Stores that specs may name in addition to the default one, as a JSON list of https://HOST:PORT; `*` stands for
    one label of a host, or for any port. The API server and metadata services are never allowed."""
    allowed_caption_endpoints: tuple[str, ...] = ()
    """Captioning endpoints that trainings may name, as a JSON list like that of stores."""
    allowed_service_accounts: tuple[ObjectName, ...] = ()
    """Service accounts that trainers may run as (podTemplate.serviceAccountName), as a JSON list of names; their
    tokens are never mounted. The admission policy of the chart has the same list."""
    store_probe_seconds: float = 10.0
    """Interval at which an unreachable store or a missing bucket is checked again."""
    allow_weak_fence: bool = False
    """Train on a store without conditional writes, where two groups that are cut off from each other may both
    commit."""
    credentials_seconds: int = Field(default=3600, ge=900)
    """Lifetime of a trainer's storage credentials; they are renewed at half of it."""
    presign_seconds: int = 3600
    """Lifetime of the presigned URLs in a work order."""
    public_url_seconds: int = Field(default=604800, le=604800)
    """Lifetime of the presigned URLs in a generation's status; seven days at most (AWS SigV4)."""

    retry_budget: dict[str, int] = {
        "out_of_memory": 2,
        "numerics": 2,
        "hardware": 5,
        "stall": 5,
        "network": 10,
        "unknown": 5,
        "user_error": 0,
    }
    """New attempts per failure class before a run is Failed; preemption is free."""
    retry_backoff_seconds: float = 10.0
    """Wait before the second attempt after a failure; doubles up to retry_backoff_max_seconds."""
    retry_backoff_max_seconds: float = 300.0
    """Longest wait between two attempts."""
    stall_factor: float = 20.0
    """A run without a step for this many median steps, and stall_floor_seconds at least, is restarted."""
    stall_floor_seconds: float = 120.0
    """Shortest time without a step that counts as a stall."""
    placement_seconds: float = Field(default=120.0, gt=0)
    """Time after which a partly scheduled group deletes its pods; the oldest waiting training waits four times as
    long."""
    group_seconds: float = Field(default=600.0, gt=0)
    """Longest time without a group, a first step or a response although enough trainers run; then the attempt is
    restarted."""

    expansion_url: str | None = Field(default=None, pattern=r"^https?://[^/@\s?#]+(/[^@\s?#]*)?$")
    """OpenAI-compatible API with which servers expand prompts, such as http://llm.models.svc:8000/v1; unset: use the
    built-in rules."""
    expansion_model: str = ""
    """Name of the language model; required with expansion_url."""

    @model_validator(mode="after")
    def _authority_has_a_use(self) -> Self:
        if self.store_ca_bundle and not self.store_endpoint.startswith("https://"):
            raise ValueError("KINEMA_STORE_CA_BUNDLE needs a KINEMA_STORE_ENDPOINT with https://: correct either")
        return self

    @model_validator(mode="after")
    def _links_have_a_port_of_their_own(self) -> Self:
        if self.links and self.links_port in (self.health_port, self.metrics_port):
            raise ValueError(
                "KINEMA_LINKS_PORT is also the port of health or metrics, which clients must not reach: change it"
            )
        return self

    @model_validator(mode="after")
    def _language_model_is_named(self) -> Self:
        if self.expansion_url and not self.expansion_model:
            raise ValueError("KINEMA_EXPANSION_MODEL is needed with KINEMA_EXPANSION_URL: name the language model")
        return self

    generation_attempts: int = Field(default=5, ge=1)
    """Failed attempts before a generation is Failed for reasons other than the request itself."""
    generation_poll_seconds: float = Field(default=1.0, gt=0)
    """Interval at which the state of an order is requested; the status is written at most every
    progress_interval_seconds."""
    server_silent_seconds: float = Field(default=15.0, gt=0)
    """Time without a response of a server after which the request goes to another one."""
    server_unmeasured_seconds: float = Field(default=600.0, gt=0)
    """Time limit for loading a model, the first step, encoding, and stopping before the first step. Later a step may
    take 20 times the longest so far and stopping 3 times, 30 s at least. A server that exceeds a limit loses its pod,
    so every request ends by its deadline plus this limit."""
    server_termination_grace_seconds: int = Field(default=600, ge=1)
    """Time for a server to finish its current order when its pod is deleted; an idle one exits at once."""

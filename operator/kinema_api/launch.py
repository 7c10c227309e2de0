"""Trainings and servers as TorchX AppDefs: one description of argv and environment for every runner.

The operator builds Kubernetes objects from it, `kinema run --local` passes it to TorchX's local scheduler. `Site` has
only the settings that differ between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

from torchx import specs

from kinema_api import names, objectstore
from kinema_api.evaluation import Evaluation
from kinema_api.finetune import BaseStatus, RunBase
from kinema_api.prefix_uri import bucket_and_prefix
from kinema_api.prepare import ENV_CAPTIONER_KEY_FILE, ClipTarget, PrepareConfig, RunDataset
from kinema_api.run import LEAST_GRACE_SECONDS, EvaluationConfig, PublicationConfig, RunConfig
from kinema_api.training import PATCH_SIDE, PRESET_CLIPS, ModelChoice, ModelOverrides, VideoModelTraining

STORE_ROLE: Final = "rendezvous"
TRAINER_ROLE: Final = "trainer"
PREPARER_ROLE: Final = "preparer"
EVALUATOR_ROLE: Final = "evaluator"
PUBLISHER_ROLE: Final = "publisher"
SERVER_ROLE: Final = "server"
ORDERS_PORT: Final = "orders"
METRICS_PORT: Final = "metrics"

ENV_UNBUFFERED: Final = "PYTHONUNBUFFERED"
ENV_RENDEZVOUS: Final = "KINEMA_RENDEZVOUS"
ENV_PROGRESS_PORT: Final = "KINEMA_PROGRESS_PORT"
ENV_PROGRESS_FILE: Final = "KINEMA_PROGRESS_FILE"
ENV_TERMINATION_LOG: Final = "KINEMA_TERMINATION_LOG"
ENV_POD_NAME: Final = "KINEMA_POD_NAME"
ENV_POD_IP: Final = "KINEMA_POD_IP"
ENV_DEVICES: Final = "KINEMA_TRAINER_DEVICES"
"""GPUs that a trainer's pod was given; unset: as many as it sees."""
ENV_DATASET_CACHE: Final = "KINEMA_DATASET_CACHE_BYTES"
"""Most bytes of recorded clips that a trainer keeps on its disk."""
ENV_SERVER_GRACE: Final = "KINEMA_SERVER_GRACE_SECONDS"
ENV_EXPANSION_URL: Final = "KINEMA_EXPANSION_URL"
ENV_EXPANSION_MODEL: Final = "KINEMA_EXPANSION_MODEL"

RUNTIME_ENV: Final = (ENV_POD_NAME, ENV_POD_IP)
"""Set per pod by the downward API, or per replica by the local runner; not part of the AppDef."""


@dataclass(frozen=True)
class Site:
    """Settings of the cluster or machine on which a run is started."""

    rendezvous_host: str
    rendezvous_port: int
    store_endpoint: str
    store_bucket: str
    store_region: str
    credentials_file: str
    progress_port: int
    """0: any free port, named in the progress file."""
    progress_file: str
    """May contain TorchX's macros.replica_id."""
    termination_log: str
    image: str
    weak_fence: bool = False
    """Allow commits on a store without conditional writes."""
    ca_file: str = ""
    """CA certificates (PEM) to trust for the store; the file may be missing."""
    captioner_key_file: str = ""
    """File with the key of the captioning endpoint; empty: no key is sent."""
    dataset_cache_bytes: int | None = None
    """Most bytes of recorded clips on a trainer's disk; None: its own default."""


@dataclass(frozen=True)
class ServerSite:
    """Settings of the cluster or machine on which a server is started."""

    image: str
    grace_seconds: int
    """How long the current order may continue after SIGTERM."""
    port: int = names.SERVER_PORT
    metrics_port: int = names.SERVER_METRICS_PORT
    expansion_url: str = ""
    """URL of the language model that expands prompts; empty: use the built-in rules."""
    expansion_model: str = ""
    order_key: str = ""
    """Public key that verifies the operator's orders; without it the server must listen on loopback."""


def run_config(training: VideoModelTraining, run: int, attempt: int, resume_from: str | None) -> RunConfig:
    """The configuration of one attempt of a training."""
    numerics = training.status.numerics
    return RunConfig(
        namespace=training.metadata.namespace,
        name=training.metadata.name,
        uid=training.artifacts.uid,
        run=run,
        attempt=attempt,
        resume_from=resume_from,
        model=training.spec.model,
        base=run_base(training.status.base),
        data=training.spec.data,
        datasets=run_datasets(training),
        optimization=training.spec.optimization,
        checkpoint_every=training.spec.checkpoint.every_steps,
        grace_seconds=training.status.grace_seconds or LEAST_GRACE_SECONDS,
        memory_failures=training.status.restarts.get("out_of_memory", 0),
        skipped_steps=tuple(step - 1 for step in numerics.skipped) if numerics else (),
    )


def run_datasets(training: VideoModelTraining) -> tuple[RunDataset, ...]:
    """The prepared datasets of a training's run, with the weights of their folders; none before they are prepared."""
    found = training.status.dataset
    if found is None:
        return ()
    pairs = zip(found.datasets, training.spec.data.videos, strict=True)
    return tuple(RunDataset(prefix=made.prefix, digest=made.digest, weight=clips.weight) for made, clips in pairs)


def clip_target(model: ModelChoice, base: ClipTarget | None = None) -> ClipTarget:
    """The shape that recorded clips are packed to: at most the model's own length, area and rate.

    `base` is that of the model's base, if it has one.
    """
    own = base
    if own is None:
        frames, height, width, fps = PRESET_CLIPS[str(model.preset)]
        own = ClipTarget(frames=frames, pixels=height * width, fps=fps, cell=(1, PATCH_SIDE, PATCH_SIDE))
    chosen = model.overrides or ModelOverrides()
    pixels = prod(int(side) for side in chosen.size.split("x")) if chosen.size else own.pixels
    return ClipTarget(frames=chosen.frames or own.frames, pixels=pixels, fps=chosen.fps or own.fps, cell=own.cell)


def prepare_config(training: VideoModelTraining, run: int) -> PrepareConfig:
    """The configuration of what prepares a run's recorded clips."""
    return PrepareConfig(
        namespace=training.metadata.namespace,
        name=training.metadata.name,
        uid=training.artifacts.uid,
        run=run,
        videos=training.spec.data.videos,
        target=clip_target(training.spec.model, training.status.base.clip.target if training.status.base else None),
    )


def run_base(status: BaseStatus | None) -> RunBase | None:
    """The base that a status names, as a trainer finds it."""
    if status is None:
        return None
    return RunBase(digest=status.digest, prefix=bucket_and_prefix(status.uri)[1])


def evaluation_config(
    training: VideoModelTraining, run: int, attempt: int, model_digest: str, evaluation: Evaluation
) -> EvaluationConfig:
    """The configuration of the evaluator of one attempt's model."""
    return EvaluationConfig(
        namespace=training.metadata.namespace,
        name=training.metadata.name,
        uid=training.artifacts.uid,
        run=run,
        attempt=attempt,
        model_digest=model_digest,
        # A process is told what to measure, not how its own pod is made.
        evaluation=evaluation.model_copy(update={"pod_template": None}),
        datasets=run_datasets(training),
    )


def training_app(training: VideoModelTraining, config: RunConfig, site: Site) -> specs.AppDef:
    """The rendezvous store and the trainers of one attempt."""
    return specs.AppDef(
        name=names.job_name(config.name, config.run, config.attempt),
        roles=[_store_role(training, config, site), _trainer_role(training, config, site)],
        metadata={"training": f"{config.namespace}/{config.name}"},
    )


def preparation_app(config: PrepareConfig, site: Site, workers: int) -> specs.AppDef:
    """The processes that prepare a run's recorded clips."""
    payload = config.model_dump_json(by_alias=True, exclude_none=True)
    name = names.preparation_name(config.name, config.run)
    app = _processes(config, site, name, PREPARER_ROLE, "kinema_jobs.prepare", payload)
    (role,) = app.roles
    role.num_replicas = workers
    role.port_map = {"progress": site.progress_port}
    role.env[ENV_PROGRESS_PORT] = str(site.progress_port)
    if site.captioner_key_file:
        role.env[ENV_CAPTIONER_KEY_FILE] = site.captioner_key_file
    return app


def publication_app(config: PublicationConfig, site: Site) -> specs.AppDef:
    """The process that verifies and copies an attempt's model."""
    name = names.publication_job_name(config.name, config.run, config.attempt)
    payload = config.model_dump_json(by_alias=True)
    return _processes(config, site, name, PUBLISHER_ROLE, "kinema_jobs.train.publication", payload)


def evaluation_app(config: EvaluationConfig, site: Site) -> specs.AppDef:
    """The process that evaluates an attempt's model."""
    name = names.evaluation_job_name(config.name, config.run, config.attempt)
    # The image is that of the attempt and may be older: then it has the process under this name, and knows no datasets.
    unknown = None if config.datasets else {"datasets"}
    payload = config.model_dump_json(by_alias=True, exclude_none=True, exclude=unknown)
    app = _processes(config, site, name, EVALUATOR_ROLE, "kinema_jobs.train.evaluation", payload)
    app.roles[0].env.update(_cache_env(config, site))
    return app


def _processes(
    config: PrepareConfig | PublicationConfig | EvaluationConfig,
    site: Site,
    name: str,
    role: str,
    module: str,
    payload: str,
) -> specs.AppDef:
    process = specs.Role(
        name=role,
        image=site.image,
        entrypoint="python",
        args=["-m", module, "--config", payload],
        env={ENV_UNBUFFERED: "1", ENV_TERMINATION_LOG: site.termination_log, **_storage_env(site)},
        num_replicas=1,
        resource=specs.NULL_RESOURCE,
    )
    return specs.AppDef(name=name, roles=[process], metadata={"training": f"{config.namespace}/{config.name}"})


def _storage_env(site: Site) -> dict[str, str]:
    return {
        objectstore.ENV_ENDPOINT: site.store_endpoint,
        objectstore.ENV_BUCKET: site.store_bucket,
        objectstore.ENV_REGION: site.store_region,
        objectstore.ENV_CREDENTIALS: site.credentials_file,
        **({objectstore.ENV_CA_FILE: site.ca_file} if site.ca_file else {}),
        **({objectstore.ENV_WEAK_FENCE: "1"} if site.weak_fence else {}),
    }


def _cache_env(config: RunConfig | EvaluationConfig, site: Site) -> dict[str, str]:
    if not config.datasets or site.dataset_cache_bytes is None:
        return {}
    return {ENV_DATASET_CACHE: str(site.dataset_cache_bytes)}


def _store_role(training: VideoModelTraining, config: RunConfig, site: Site) -> specs.Role:
    return specs.Role(
        name=STORE_ROLE,
        image=site.image,
        entrypoint="python",
        args=[
            "-m",
            "kinema_jobs.rendezvous",
            "--run-id",
            config.rendezvous_id,
            "--port",
            str(site.rendezvous_port),
            "--min-nodes",
            str(training.spec.min_nodes),
        ],
        env={ENV_UNBUFFERED: "1"},
        num_replicas=1,
        port_map={"rendezvous": site.rendezvous_port},
    )


def _trainer_role(training: VideoModelTraining, config: RunConfig, site: Site) -> specs.Role:
    return specs.Role(
        name=TRAINER_ROLE,
        image=site.image,
        entrypoint="python",
        args=[
            "-m",
            "kinema_jobs.train",
            "--config",
            config.model_dump_json(by_alias=True, exclude_none=True),
        ],
        env={
            ENV_UNBUFFERED: "1",
            ENV_RENDEZVOUS: f"{site.rendezvous_host}:{site.rendezvous_port}",
            ENV_PROGRESS_PORT: str(site.progress_port),
            ENV_PROGRESS_FILE: site.progress_file,
            ENV_TERMINATION_LOG: site.termination_log,
            **_storage_env(site),
            **_cache_env(config, site),
        },
        num_replicas=training.spec.nodes,
        port_map={"progress": site.progress_port},
        resource=specs.NULL_RESOURCE,
    )


def server_app(model: str, digest: str, site: ServerSite) -> specs.AppDef:
    """A server of `digest` (`sha256:<hex>`), the weights of the VideoModel `model`."""
    expanding = {ENV_EXPANSION_URL: site.expansion_url, ENV_EXPANSION_MODEL: site.expansion_model}
    role = specs.Role(
        name=SERVER_ROLE,
        image=site.image,
        entrypoint="python",
        args=[
            "-m",
            "kinema_jobs.serve",
            "--digest",
            digest,
            "--port",
            str(site.port),
            "--metrics-port",
            str(site.metrics_port),
        ],
        env={
            ENV_UNBUFFERED: "1",
            ENV_SERVER_GRACE: str(site.grace_seconds),
            **(expanding if site.expansion_url else {}),
            **({names.ENV_ORDER_KEY: site.order_key} if site.order_key else {}),
        },
        num_replicas=1,
        port_map={ORDERS_PORT: site.port, METRICS_PORT: site.metrics_port},
        resource=specs.NULL_RESOURCE,
    )
    return specs.AppDef(name=names.server_name(model, digest), roles=[role], metadata={"model": model})

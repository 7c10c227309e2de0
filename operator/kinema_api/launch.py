"""A training, and a server, as a TorchX AppDef: the one description of argv and environment that every runner takes.

The operator makes Kubernetes objects of it, `kinema run --local` hands it to TorchX's local scheduler, a test
prints it. Only what differs between places is in `Site`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torchx import specs

from kinema_api import names, objectstore
from kinema_api.evaluation import Evaluation
from kinema_api.run import LEAST_GRACE_SECONDS, EvaluationConfig, PublicationConfig, RunConfig
from kinema_api.training import VideoModelTraining

STORE_ROLE: Final = "rendezvous"
TRAINER_ROLE: Final = "trainer"
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
ENV_SERVER_GRACE: Final = "KINEMA_SERVER_GRACE_SECONDS"
ENV_EXPANSION_URL: Final = "KINEMA_EXPANSION_URL"
ENV_EXPANSION_MODEL: Final = "KINEMA_EXPANSION_MODEL"

RUNTIME_ENV: Final = (ENV_POD_NAME, ENV_POD_IP)
"""Set per pod by the downward API, or per replica by the local runner; not part of the AppDef."""


@dataclass(frozen=True)
class Site:
    """What differs between the places where a run can live."""

    rendezvous_host: str
    rendezvous_port: int
    store_endpoint: str
    store_bucket: str
    store_region: str
    credentials_file: str
    progress_port: int
    """0: any free port, named in the progress file."""
    progress_file: str
    """May hold TorchX's macros.replica_id."""
    termination_log: str
    image: str
    weak_fence: bool = False
    """Commit on a store without conditional writes all the same."""
    ca_file: str = ""
    """Authorities that the store's certificate may come from, in PEM; the file may be missing."""


@dataclass(frozen=True)
class ServerSite:
    """What differs between the places where a server can live."""

    image: str
    grace_seconds: int
    """How long the order in hand may go on after SIGTERM."""
    port: int = names.SERVER_PORT
    metrics_port: int = names.SERVER_METRICS_PORT
    expansion_url: str = ""
    """Address of the language model that expands prompts; none: the built-in rules do."""
    expansion_model: str = ""
    order_key: str = ""
    """Public key by which a server knows the operator's orders; without one it takes none from other machines."""


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
        data=training.spec.data,
        optimization=training.spec.optimization,
        checkpoint_every=training.spec.checkpoint.every_steps,
        grace_seconds=training.status.grace_seconds or LEAST_GRACE_SECONDS,
        memory_failures=training.status.restarts.get("out_of_memory", 0),
        skipped_steps=tuple(step - 1 for step in numerics.skipped) if numerics else (),
    )


def evaluation_config(
    training: VideoModelTraining, run: int, attempt: int, model_digest: str, evaluation: Evaluation
) -> EvaluationConfig:
    """What the evaluator of one attempt's model is told."""
    return EvaluationConfig(
        namespace=training.metadata.namespace,
        name=training.metadata.name,
        uid=training.artifacts.uid,
        run=run,
        attempt=attempt,
        model_digest=model_digest,
        evaluation=evaluation,
    )


def training_app(training: VideoModelTraining, config: RunConfig, site: Site) -> specs.AppDef:
    """The rendezvous store and the trainers of one attempt."""
    return specs.AppDef(
        name=names.job_name(config.name, config.run, config.attempt),
        roles=[_store_role(training, config, site), _trainer_role(training, config, site)],
        metadata={"training": f"{config.namespace}/{config.name}"},
    )


def publication_app(config: PublicationConfig, site: Site) -> specs.AppDef:
    """The one process that checks and copies an attempt's model."""
    name = names.publication_job_name(config.name, config.run, config.attempt)
    payload = config.model_dump_json(by_alias=True)
    return _single_process(config, site, name, PUBLISHER_ROLE, "kinema_jobs.train.publication", payload)


def evaluation_app(config: EvaluationConfig, site: Site) -> specs.AppDef:
    """The one process that measures an attempt's model."""
    name = names.evaluation_job_name(config.name, config.run, config.attempt)
    payload = config.model_dump_json(by_alias=True, exclude_none=True)
    # The image is the attempt's own and may be of an older version, which knows the process by this name alone.
    return _single_process(config, site, name, EVALUATOR_ROLE, "kinema_jobs.train.evaluation", payload)


def _single_process(
    config: PublicationConfig | EvaluationConfig, site: Site, name: str, role: str, module: str, payload: str
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

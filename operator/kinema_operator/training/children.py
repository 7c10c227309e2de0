"""The objects of an attempt and of its evaluation: which must exist, which are resized, which are deleted.

Trainers are deleted before their rendezvous pod. A trainer that gets SIGTERM ends its round at a step boundary and
commits, and the rendezvous pod must allow every commit: without it the steps since the last checkpoint are lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Final

from torchx import specs

from kinema_api import launch, names
from kinema_api.evaluation import Evaluation
from kinema_api.objectstore import StoreLocation
from kinema_api.prepare import PrepareConfig
from kinema_api.quantity import quantity
from kinema_api.run import EvaluationConfig, PublicationConfig, RunConfig
from kinema_api.training import VideoModelTraining
from kinema_operator.core.plan import Apply, Event, KubeObject, Patch, Ref
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.training.objects.evaluator import evaluation_job
from kinema_operator.training.objects.job import job
from kinema_operator.training.objects.network_policy import network_policy
from kinema_operator.training.objects.preparer import endpoint_policy, preparation_job
from kinema_operator.training.objects.publisher import publication_job
from kinema_operator.training.objects.rendezvous_pod import ANNOTATION_MIN_NODES, Making, next_generation, store_pod
from kinema_operator.training.objects.service import pods_service, rendezvous_service, store_host
from kinema_operator.training.observed import ExportSeen, JobSeen, PodEnd, PodSeen
from kinema_operator.training.phases import termination
from kinema_operator.training.uri import key
from kinema_operator.training.view import View

LEFTOVER_GRACE: Final = timedelta(seconds=30)
"""Time for trainers of a complete run to exit by themselves; then they are deleted."""
STORE_IS_LOST_AFTER: Final = names.RENDEZVOUS_LOST_SECONDS * names.LEASE_SHARE
"""Seconds after which members without a response from their rendezvous pod have stopped, unless they report a longer
lease: a new pod then interrupts nothing. Kubernetes takes a minute to detect the loss of a node."""
STORE_BEGINS: Final = timedelta(seconds=30)
"""Time for trainers to find a new rendezvous pod, before it counts as unheard."""
CACHED_SHARE: Final = Decimal("0.5")
"""Share of a trainer's scratch space for recorded clips; the rest is for checkpoints on their way."""
LOOK_SOON_SECONDS: Final = 1.0
"""Reconcile interval while trainers get no response from their rendezvous pod."""
LOOK_AGAIN_SECONDS: Final = 5.0
"""Reconcile interval while something is being deleted, in case the watch misses the deletion."""
PROGRESS_FILE: Final = f"{names.SCRATCH_DIR}/progress.json"


def site(
    training: VideoModelTraining,
    run: int,
    attempt: int,
    location: StoreLocation,
    settings: Settings,
    service: str = names.RENDEZVOUS_SERVICE,
) -> launch.Site:
    """The settings of the cluster for a run."""
    return launch.Site(
        rendezvous_host=store_host(training.metadata.name, run, attempt, service),
        rendezvous_port=names.RENDEZVOUS_PORT,
        store_endpoint=location.endpoint,
        store_bucket=location.bucket,
        store_region=location.region,
        credentials_file=f"{names.STORAGE_SECRET_DIR}/{names.STORAGE_CREDENTIALS_KEY}",
        progress_port=names.PROGRESS_PORT,
        progress_file=PROGRESS_FILE,
        termination_log=names.TERMINATION_LOG,
        image=settings.worker_image,
        weak_fence=settings.allow_weak_fence,
        ca_file=f"{names.STORAGE_SECRET_DIR}/{names.STORAGE_CA_KEY}",
        dataset_cache_bytes=int(quantity(settings.scratch_size_limit) * CACHED_SHARE),
    )


def describe_attempt(
    training: VideoModelTraining,
    location: StoreLocation,
    settings: Settings,
    service: str = names.RENDEZVOUS_SERVICE,
) -> tuple[RunConfig, specs.AppDef]:
    """Configuration and AppDef of the attempt in the status."""
    status = training.status
    config = launch.run_config(training, status.run, status.attempt, key(location, status.resume_from))
    place = site(training, status.run, status.attempt, location, settings, service)
    return config, launch.training_app(training, config, place)


def describe_preparation(
    training: VideoModelTraining, nodes: int, location: StoreLocation, settings: Settings
) -> tuple[PrepareConfig, specs.AppDef]:
    """Configuration and AppDef of what prepares the recorded clips of the current run."""
    run, captioner = training.status.run, training.spec.data.captioner
    config = launch.prepare_config(training, run)
    place = site(training, run, training.status.attempt, location, settings)
    if captioner and captioner.secret_ref:
        key_file = f"{names.STORAGE_SECRET_DIR}/{names.STORAGE_CAPTIONER_KEY}"
        place = dataclasses.replace(place, captioner_key_file=key_file)
    return config, launch.preparation_app(config, place, nodes)


def describe_evaluation(
    training: VideoModelTraining, model_digest: str, location: StoreLocation, settings: Settings
) -> tuple[EvaluationConfig, specs.AppDef]:
    """Configuration and AppDef of the evaluation of the current attempt's model."""
    run, attempt, wanted = training.status.run, training.status.attempt, training.spec.evaluation or Evaluation()
    config = launch.evaluation_config(training, run, attempt, model_digest, wanted)
    return config, launch.evaluation_app(config, site(training, run, attempt, location, settings))


def describe_publication(
    training: VideoModelTraining, export: ExportSeen, location: StoreLocation, settings: Settings
) -> tuple[PublicationConfig, specs.AppDef]:
    """Configuration and AppDef of the publication of the current attempt's model."""
    meta, run, attempt = training.metadata, training.status.run, training.status.attempt
    config = PublicationConfig(
        namespace=meta.namespace,
        name=meta.name,
        uid=training.artifacts.uid,
        run=run,
        attempt=attempt,
        model_digest=export.digest or "",
        folder=export.folder,
    )
    return config, launch.publication_app(config, site(training, run, attempt, location, settings))


def policy(view: View) -> Apply:
    """The NetworkPolicy of the pods of all trainings of the namespace."""
    own = view.settings.store_endpoint
    stores = {endpoint or own for endpoint in view.seen.stores_named}
    stores.add(store_location(view.spec.artifact_store, view.settings).endpoint)
    return Apply(network_policy(view.training.metadata.namespace, stores, view.settings))


def preparation_objects(view: View) -> tuple[Apply, ...]:
    """Objects for preparing the run's recorded clips, besides the policy of all trainings."""
    location = store_location(view.spec.artifact_store, view.settings)
    captioner = view.spec.data.captioner
    found = [Apply(endpoint_policy(view.training, captioner))] if captioner else []
    if view.preparation_job is None:
        config, app = describe_preparation(view.training, view.nodes, location, view.settings)
        found.append(Apply(preparation_job(view.training, app, config, view.nodes, view.settings), once=True))
    return tuple(found)


def preparation_jobs(view: View) -> list[JobSeen]:
    """All Jobs of this training that prepare clips, including those being deleted."""
    return [job for job in view.seen.jobs if job.component == names.COMPONENT_PREPARER]


def evaluation_objects(view: View) -> tuple[Apply, ...]:
    """Objects for the evaluation of the attempt's model, besides the policy. Created once, never changed."""
    assert view.status.evaluation is not None
    location = store_location(view.spec.artifact_store, view.settings)
    config, app = describe_evaluation(view.training, view.status.evaluation.model_digest, location, view.settings)
    return (Apply(evaluation_job(view.training, app, config, view.settings), once=True),)


def publication_objects(view: View, export: ExportSeen) -> tuple[Apply, ...]:
    """Objects for the publication of the attempt's model."""
    location = store_location(view.spec.artifact_store, view.settings)
    config, app = describe_publication(view.training, export, location, view.settings)
    return (policy(view), Apply(publication_job(view.training, app, config, view.settings), once=True))


def publications(view: View, *, but: JobSeen | None) -> tuple[Ref, ...]:
    """Publication Jobs of any state, except `but`."""
    jobs = (job for job in view.seen.jobs if job.component == names.COMPONENT_PUBLISHER and not job.deleting)
    return tuple(_job_ref(view, job.name, job.uid) for job in jobs if job != but)


def objects(view: View) -> tuple[Apply, ...]:
    """Objects of a running attempt. The Job and the rendezvous pod are created once and never changed."""
    training, settings, service = view.training, view.settings, view.service
    found = [policy(view), Apply(rendezvous_service(training.metadata.namespace))]
    if service != names.RENDEZVOUS_SERVICE:
        found.append(Apply(pods_service(training)))
    lives = _live_store(view)
    if lives and view.job:
        return tuple(found)
    location = store_location(view.spec.artifact_store, settings)
    config, app = describe_attempt(training, location, settings, service)
    if not lives:
        found.append(Apply(_another_store(view, app, config), once=True))
    if not view.job:
        found.append(Apply(job(training, app, config, view.nodes, settings), once=True))
    return tuple(found)


def _another_store(view: View, app: specs.AppDef, config: RunConfig) -> KubeObject:
    making = Making(
        taken={pod.name for pod in view.stores},
        image=view.job.image if view.job else "",
        generation=next_generation(view.now, (pod.generation for pod in view.stores)),
        avoid={pod.node for pod in view.stores if pod.node and not pod.over},
        leases_over=_leases_over(view),
        service=view.service,
    )
    return store_pod(view.training, app, config, view.settings, making)


def resize(view: View, found: JobSeen | None) -> tuple[Patch, ...]:
    """Set a Job's parallelism and completions together, with a patch that fails if it has changed meanwhile."""
    if found is None or found.finished or found.parallelism == view.nodes:
        return ()
    body: KubeObject = {"spec": {"parallelism": view.nodes, "completions": view.nodes}}
    return (Patch(_job_ref(view, found.name, found.uid), found.resource_version, body),)


def resize_groups(view: View) -> tuple[Patch, ...]:
    """Set the smallest group size of rendezvous pods that can change it while they run."""
    wanted = view.spec.min_nodes
    body: KubeObject = {"metadata": {"annotations": {ANNOTATION_MIN_NODES: str(wanted)}}}
    stores = (pod for pod in view.stores if pod.generation is not None and pod.deletion_time is None and not pod.over)
    return tuple(Patch(_pod_ref(view, p), p.resource_version, body) for p in stores if p.min_nodes != wanted)


def unfit_stores(view: View) -> tuple[Ref, ...]:
    """Rendezvous pods to replace: ended ones, those that no trainer gets a response from, and those of an older version
    whose smallest group size differs from the spec.

    The last kind is kept while a group is training, since a replacement ends its round.
    """
    return tuple(_pod_ref(view, pod) for pod in view.stores if pod.deletion_time is None and not _fits(view, pod))


def stores_lost(view: View) -> tuple[Event, ...]:
    """An event for each rendezvous pod that is replaced because no trainer gets a response from it."""
    lost = [pod for pod in view.stores if pod.deletion_time is None and is_unheard(view, pod)]
    said = "no trainer has had a response from it for {:.0f} s; the operator creates another rendezvous pod"
    return tuple(
        Event("RendezvousLost", f"{pod.name} on node {pod.node}: {said.format(view.seen.cut_off_seconds)}", "Warning")
        for pod in lost
    )


def held_pods(view: View) -> tuple[Ref, ...]:
    """Pods whose trainer has ended while another container still runs: the Job would never replace them."""
    return tuple(
        _pod_ref(view, pod)
        for pod in view.trainers
        if pod.end and pod.phase == "Running" and pod.deletion_time is None and _ended_long_ago(view, pod.end)
    )


def _ended_long_ago(view: View, end: PodEnd) -> bool:
    return end.finished is not None and view.now - end.finished >= LEFTOVER_GRACE


def of_other_attempts(view: View) -> tuple[Ref, ...]:
    """All objects of attempts other than the current one."""
    current = (view.status.run, view.status.attempt)
    jobs = [j for j in view.seen.jobs if (j.run, j.attempt) != current and not j.deleting]
    stores = [p for p in _needless_stores(view) if (p.run, p.attempt) != current]
    return _refs(view, jobs, stores)


def of_every_attempt(view: View, *, keep_finished_job: bool) -> tuple[Ref, ...]:
    """All objects of all attempts; with `keep_finished_job` except a finished Job, so that its logs stay readable."""
    jobs = [j for j in view.seen.jobs if not j.deleting and not (keep_finished_job and j.finished)]
    return _refs(view, jobs, _needless_stores(view))


def of_training(view: View) -> tuple[Ref, ...]:
    """Training Jobs and pods that have not ended: not needed once the model is exported."""
    jobs = [j for j in view.seen.jobs if j.component == names.COMPONENT_TRAINER and not j.deleting and not j.finished]
    return _refs(view, jobs, _needless_stores(view))


def evaluation_jobs(view: View) -> list[JobSeen]:
    """All evaluation Jobs of this training, including those being deleted."""
    return [job for job in view.seen.jobs if job.component == names.COMPONENT_EVALUATOR]


def of_other_models(view: View) -> tuple[Ref, ...]:
    """Evaluation Jobs of models other than the one to publish."""
    wanted = view.evaluation_job
    return tuple(_job_ref(view, j.name, j.uid) for j in evaluation_jobs(view) if j != wanted and not j.deleting)


def _needless_stores(view: View) -> list[PodSeen]:
    """Rendezvous pods that no trainer needs for a commit any more."""
    needed = {
        (pod.run, pod.attempt)
        for pod in view.seen.pods
        if pod.component == names.COMPONENT_TRAINER and pod.started and termination.may_write(view, pod)
    }
    stores = [p for p in view.seen.pods if p.component == names.COMPONENT_STORE and p.deletion_time is None]
    return [store for store in stores if (store.run, store.attempt) not in needed]


def _refs(view: View, jobs: Iterable[JobSeen], stores: Iterable[PodSeen]) -> tuple[Ref, ...]:
    return (*(_job_ref(view, j.name, j.uid) for j in jobs), *(_pod_ref(view, p) for p in stores))


def _fits(view: View, pod: PodSeen) -> bool:
    if pod.phase in ("Failed", "Succeeded") or is_unheard(view, pod):
        return False
    takes_it_in = pod.generation is not None
    works = view.progress is not None and view.progress.world_size > 0
    return pod.min_nodes == view.spec.min_nodes or takes_it_in or works


def _live_store(view: View) -> bool:
    """Whether a rendezvous pod serves or is being deleted. There should be one at a time, although the head of the
    attempt lets only one group commit."""
    stores = [pod for pod in view.stores if not (pod.phase == "Failed" and pod.trouble) and not is_unheard(view, pod)]
    return any(pod.deletion_time is None or view.now <= pod.deletion_time + termination.STUCK_AFTER for pod in stores)


def is_unheard(view: View, store: PodSeen) -> bool:
    """Whether no trainer gets a response from a rendezvous pod that has run for a while: its node or network is down.

    Stays true while the pod is being deleted for that reason, so that its end is not awaited.
    """
    begun = store.started is not None and view.now - store.started >= STORE_BEGINS
    return begun and not store.over and _leases_over(view)


def _leases_over(view: View) -> bool:
    """Whether the leases of all members have expired, so that they have stopped."""
    return view.seen.cut_off_seconds >= max(STORE_IS_LOST_AFTER, view.seen.lease_seconds)


def _job_ref(view: View, name: str, uid: str) -> Ref:
    return Ref("batch/v1", "Job", view.training.metadata.namespace, name, uid)


def _pod_ref(view: View, pod: PodSeen) -> Ref:
    return Ref("v1", "Pod", view.training.metadata.namespace, pod.name, pod.uid)

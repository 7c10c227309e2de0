"""Runs a training on this machine, watches it, measures its model and publishes it, as the control plane does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from kinema_api import head as heads
from kinema_api import launch, layout
from kinema_api.errors import BrokenManifest, InvalidManifest, StorageError
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.run import RunConfig
from kinema_api.training import KIND, VideoModelTraining
from kinema_api.wire import TerminationMessage
from kinema_jobs.local.base import with_base
from kinema_jobs.local.evaluation import measure
from kinema_jobs.local.preparing import with_dataset
from kinema_jobs.local.site import Folders, LocalRun, local_site, place
from kinema_jobs.train.command_line import require_text_encoder
from kinema_jobs.train.failures import BadConfiguration, StorageFailure, TrainingFailure
from kinema_jobs.train.progress import ProgressFile, read_progress
from kinema_jobs.train.shape import model_config_of
from kinema_model.errors import ModelError

UID: Final = "local"
_LOOK_SECONDS: Final = 0.1
Event = dict[str, Any]


@dataclass(frozen=True)
class LocalTraining:
    """The training to run, and the fault to inject."""

    training: VideoModelTraining
    work: Path
    store: StoreLocation
    credentials: Path | None = None
    kill_after_step: int | None = None
    """SIGKILL one worker once this many steps are done and every agent takes part."""
    ca_file: Path | None = None
    """CA certificates for the store, in PEM."""


def read_training(path: Path, nodes: int | None) -> VideoModelTraining:
    """The training in a YAML file.

    Raises:
        BadConfiguration: with what to correct.
    """
    try:
        documents = [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(d, dict)]
        found = [d for d in documents if d.get("kind") == KIND]
        if len(found) != 1:
            raise BadConfiguration(f"{path} holds {len(found)} objects of kind {KIND}: give a file with exactly one")
        training = VideoModelTraining.parse(found[0])
        if training.spec.model.init_from is None:
            model_config_of(launch.run_config(training, 1, 1, None))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise BadConfiguration(f"{path} cannot be read as YAML ({why}): correct the file") from None
    except InvalidManifest as error:
        raise BadConfiguration(f"{path}: {error}") from None
    except ModelError as error:
        raise BadConfiguration(f"{path}: spec.model: {error}") from None
    spec = training.spec.model_copy(update={"nodes": nodes} if nodes else {})
    if spec.elastic and not spec.elastic.min_nodes <= spec.nodes <= spec.elastic.max_nodes:
        raise BadConfiguration(
            f"{spec.nodes} nodes are outside elastic.minNodes {spec.elastic.min_nodes} and maxNodes "
            f"{spec.elastic.max_nodes}: change nodes or the bounds"
        )
    metadata = training.metadata.model_copy(update={"uid": UID})
    return training.model_copy(update={"spec": spec, "metadata": metadata})


def run_local(wanted: LocalTraining, tell: Callable[[Event], None]) -> str:
    """Train to the end, measure and publish; the model's digest.

    `tell` is called with events (see kinema_jobs.local.__main__).

    Raises:
        TrainingFailure: with the failure class of the worker that ended it.
        GateNotMet: the model is not good enough; it is not published.
    """
    require_text_encoder()
    if wanted.kill_after_step is not None and wanted.training.spec.min_nodes >= wanted.training.spec.nodes:
        raise BadConfiguration("a killed worker is not replaced here: set elastic.minNodes below nodes to continue")
    try:
        store = open_store(wanted.store, wanted.credentials, wanted.ca_file)
        if wanted.store.endpoint.startswith("file://"):
            Path(wanted.store.endpoint.removeprefix("file://"), wanted.store.bucket).mkdir(parents=True, exist_ok=True)
        store.check()
        training, number = with_base(wanted.training, store), _next_run(store, wanted.training)
    except StorageError as error:
        raise StorageFailure(str(error)) from None
    folders = Folders(wanted.work.absolute() / f"run-{number:03d}")
    folders.work.mkdir(parents=True, exist_ok=True)
    credentials = wanted.credentials.absolute() if wanted.credentials else None
    site = local_site(folders, wanted.store, credentials, wanted.ca_file.absolute() if wanted.ca_file else None)
    training = with_dataset(training, number, store, site, folders, tell)
    config = launch.run_config(training, number, 1, None)
    run = LocalRun(launch.training_app(training, config, site), folders)
    tell({"event": "started", "message": f"{training.spec.nodes} agents; logs in {folders.logs}"})
    try:
        _Watch(run, folders, wanted.kill_after_step, tell).until_done()
    finally:
        run.close()
        shutil.rmtree(folders.work / "scratch", ignore_errors=True)
    if training.spec.evaluation:
        measure(training, config, store, site, folders, tell)
    digest = publish(store, config)
    tell({"event": "published", "digest": digest, "folder": place(store, layout.model_prefix(digest))})
    return digest


class _Watch:
    """Follows the agents of one run."""

    def __init__(self, run: LocalRun, folders: Folders, kill_after: int | None, tell: Callable[[Event], None]) -> None:
        self._run, self._folders, self._tell = run, folders, tell
        self._kill_after = kill_after
        self._killed: dict[int, float] = {}
        self._recovered = False
        self._said: tuple[int, int, bool] | None = None

    def until_done(self) -> None:
        """Return when the final manifest is committed and every agent has ended.

        Raises:
            TrainingFailure: no agent is left, or one ended with a failure of the run.
        """
        while True:
            time.sleep(_LOOK_SECONDS)
            codes = self._run.exit_codes()
            now = self._lead()
            if now is not None:
                self._follow(now)
            left = [code for worker, code in enumerate(codes) if worker not in self._killed]
            if all(code == 0 for code in left):
                return
            if any(left) or not left:
                self._raise_failure(codes)

    def _lead(self) -> ProgressFile | None:
        """The progress of rank 0 of the newest round."""
        known = (read_progress(self._folders.progress(i)) for i in range(len(self._run.worker_pids())))
        leads = [p for i, p in enumerate(known) if p is not None and p.rank == 0 and i not in self._killed]
        return max(leads, key=lambda p: p.round, default=None)

    def _follow(self, now: ProgressFile) -> None:
        news = (now.round, now.step, now.exported)
        if news != self._said:
            self._said = news
            self._tell({"event": "progress", **now.to_wire()})
        agents = len(self._run.worker_pids())
        together = now.world_size == agents and now.steps_this_round > 0 and not now.exported
        if self._kill_after is not None and now.step >= self._kill_after and together:
            self._kill_after = None
            victim = agents - 1
            self._killed[victim] = time.time()
            self._run.kill_worker(victim)
            self._tell({"event": "killed", "worker": victim, "step": now.step, "message": f"killed agent {victim}"})
        elif self._killed and not self._recovered:
            since = min(self._killed.values())
            if now.first_step_time is not None and now.first_step_time > since:
                self._recovered = True
                seconds = round(now.first_step_time - since, 2)
                message = f"{now.world_size} agents continue after {seconds} s at step {now.step}"
                self._tell({"event": "recovered", "seconds": seconds, "step": now.step, "message": message})

    def _raise_failure(self, codes: list[int | None]) -> None:
        for worker, code in enumerate(codes):
            path = self._folders.termination_message(worker)
            if code and worker not in self._killed and path.is_file():
                word = TerminationMessage.model_validate_json(path.read_bytes())
                failure = TrainingFailure(f"{word.message} (agent {worker}; logs in {self._folders.logs})", word.step)
                failure.failure_class = word.failure_class  # type: ignore[misc]  # as the agent saw it
                raise failure
        raise TrainingFailure(f"the agents ended with {codes}: see their logs in {self._folders.logs}")


def publish(store: ObjectStore, config: RunConfig) -> str:
    """Copy a finished run's export to models/<digest>/ after comparing every file with its digest.

    Raises:
        TrainingFailure: the export is not what its manifest says.
    """
    try:
        source = heads.export_of(store, config.prefix)
        if source is None:
            raise TrainingFailure(f"the run ended without a model below {config.prefix}: see its logs")
        manifest = Manifest.read(store, source + layout.MANIFEST)
        target = layout.model_prefix(manifest.digest())
        for file in manifest.files:
            _require_whole(store, source, file)
            store.copy(source + file.name, target + file.name)
        store.put(target + layout.MANIFEST, manifest.to_bytes(), "application/json")
    except (BrokenManifest, StorageError) as error:
        raise TrainingFailure(str(error)) from None
    return manifest.digest()


def _require_whole(store: ObjectStore, prefix: str, file: ManifestFile) -> None:
    if store.sha256(prefix + file.name) != (file.sha256, file.bytes):
        raise BrokenManifest(f"{store.uri(prefix + file.name)} differs from its digest; run the training again")


def _next_run(store: ObjectStore, training: VideoModelTraining) -> int:
    """A new run number for every call, so that no run reads another one's checkpoints."""
    meta = training.metadata
    prefix = layout.training_prefix(meta.namespace, meta.name, meta.uid)
    runs = [int(s.key.removeprefix(prefix)[4:7]) for s in store.list(prefix) if s.key.startswith(prefix + "run-")]
    return max(runs, default=0) + 1

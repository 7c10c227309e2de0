"""A worker process in one round: it joins the group, resumes from a checkpoint, takes steps, commits and exports.

The agent's fork server imports this module before any round begins, so that no round waits for imports.
"""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait as wait_for
from typing import Any, Final, NoReturn

from kinema_api.addresses import LAST
from kinema_api.manifest import Manifest
from kinema_api.wire import EXIT_CODES, CommittedCheckpoint
from kinema_jobs.rendezvous.errors import RendezvousError, StaleRound
from kinema_jobs.train import failures, group
from kinema_jobs.train.assignment import DONE, STOPPED, Assignment
from kinema_jobs.train.base import Base
from kinema_jobs.train.checkpoint import Checkpoints
from kinema_jobs.train.data import DatasetAccess
from kinema_jobs.train.export import export
from kinema_jobs.train.head_watch import HeadWatch
from kinema_jobs.train.lease import Lease
from kinema_jobs.train.pieces import PieceLimit
from kinema_jobs.train.progress import ProgressFile, read_progress, write_progress
from kinema_jobs.train.storage import RetryPolicy
from kinema_jobs.train.torch_logs import LOG_FORMAT
from kinema_jobs.train.train_state import TrainState, fit, start_data_workers
from kinema_model.training.feed import DataWorkers

_WATCHDOG_SECONDS: Final = 0.2
ADDRESSES_FILE: Final = "addresses.json"
"""Each round has new workers, and in the round after the loss of a node DNS may not answer."""

logger = logging.getLogger(__name__)


def run_worker(assignment: Assignment) -> str:
    """Take part in one round; DONE or STOPPED.

    Any other end calls os._exit with the code of its failure class, since destructors of a broken group can hang.
    """
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, force=True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # The agent decides when workers stop: a signal to the whole process group is meant for the agent.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with assignment.abort_file(int(os.environ["LOCAL_RANK"])).open("wb") as traces:
        # Stays enabled with its own descriptor until the process ends.
        faulthandler.enable(os.dup(traces.fileno()))
    LAST.share(assignment.scratch / ADDRESSES_FILE)
    lease = Lease(assignment.lease)
    # Before this process has threads, and sockets that a fork would keep open when it is killed.
    access = DatasetAccess.of(assignment.settings)
    base = Base.of(assignment.config, assignment.settings, assignment.scratch)
    data_workers = start_data_workers(assignment.config, access, base)
    threading.Thread(target=_watchdog, args=(lease,), daemon=True).start()
    worker = _Worker(assignment, lease, data_workers, base)
    try:
        return worker.run()
    except (StaleRound, RendezvousError) as error:
        logger.warning("%s", error)
        _leave(failures.STALE_ROUND)
    except Exception as error:
        if failures.is_lost_peer(error):
            logger.warning("lost a peer: %s", str(error).splitlines()[0])
            _leave(failures.PEER_LOST)
        logger.exception("the worker failed")
        word = failures.termination_message(error, worker.step)
        with suppress(OSError):  # a full disk; the exit code gives the class as well
            assignment.termination_message.write_text(word.model_dump_json(by_alias=True, exclude_none=True))
        _leave(EXIT_CODES[word.failure_class])
    finally:
        if data_workers is not None:
            data_workers.close()


def _leave(code: int) -> NoReturn:
    logging.shutdown()
    os._exit(code)


def _watchdog(lease: Lease) -> None:
    """End this process when its agent is gone or its lease has expired, even if the main thread hangs."""
    parent = multiprocessing.parent_process()
    ends = [parent.sentinel] if parent else []
    while lease.held():
        if wait_for(ends, timeout=_WATCHDOG_SECONDS):
            break
    os._exit(failures.STALE_ROUND)


class _Worker:
    """One round of one worker."""

    def __init__(
        self, assignment: Assignment, lease: Lease, data_workers: DataWorkers | None, base: Base | None
    ) -> None:
        self._given = assignment
        self._lease, self._data_workers, self._base = lease, data_workers, base
        self._config = assignment.config
        self._committed: CommittedCheckpoint | None = None
        self._progress = ProgressFile(run=0, attempt=0)
        self._written = 0.0
        self._watch: HeadWatch | None = None
        self.step: int | None = None

    def run(self) -> str:
        """See run_worker."""
        given, config = self._given, self._config
        self._group = group.enter(given.place, given.settings)
        access = DatasetAccess.of(given.settings)
        fitting = TrainState.build(config, self._group, self._data_workers, access, self._base)
        self._limit_pieces(fitting)
        store = given.settings.open_store()
        patience = RetryPolicy(given.settings.storage_patience_seconds)
        weak = given.settings.weak_fence
        checkpoints = Checkpoints(config, self._group, store, patience, given.scratch, weak_fence=weak)
        # No progress is reported and no step is done before this round has claimed the head in the bucket.
        start = self._group.broadcast(checkpoints.claim() if self._group.rank == 0 else None)
        assert start is not None
        self._begin_progress()
        if start.exported:
            self._finished()
            return DONE
        self._resume(fitting, checkpoints, start.checkpoints)
        if self._group.rank == 0:
            self._watch = HeadWatch(checkpoints.head, given.settings.head_seconds)
        fit(fitting, self._group, self._lease, lambda: self._after_step(fitting, checkpoints))
        if fitting.step < config.optimization.steps:
            return STOPPED
        if self._group.rank == 0:
            export(config, given.place.number, fitting, checkpoints, given.scratch)
        self._group.broadcast(True)  # no rank ends before the model is committed
        self._finished()
        return DONE

    def _limit_pieces(self, fitting: TrainState) -> None:
        """Apply this node's limit of a micro-batch and report it to the agent, which halves it if memory runs out."""
        limit, kept = fitting.limit, PieceLimit.read(self._given.scratch)
        if limit is None:
            return
        if kept and kept.learnt:
            limit = PieceLimit(max(limit.clip, min(kept.tokens, limit.tokens)), limit.clip, learnt=True)
            fitting.limit = limit
        if self._group.local_rank == 0:
            limit.write(self._given.scratch)

    # Resuming.

    def _resume(self, fitting: TrainState, checkpoints: Checkpoints, committed: Sequence[str]) -> None:
        """Resume from the best checkpoint that is complete on every rank."""
        prefixes = self._group.broadcast(checkpoints.candidates(committed) if self._group.rank == 0 else None)
        round_ = self._group.place.number
        for prefix in prefixes or ():
            manifest = checkpoints.fetch_together(prefix)
            if manifest is not None:
                self._load(fitting, checkpoints, prefix, manifest)
                logger.info("round %d resumes from step %d (%s)", round_, manifest.step, prefix)
                return
        checkpoints.head.goes_on_from(None)
        fitting.begin()
        origin = f"the base {self._config.base.digest}" if self._config.base else "scratch"
        logger.info("round %d starts from %s", round_, origin)
        self._update(checkpoint=None, step=0)

    def _load(self, fitting: TrainState, checkpoints: Checkpoints, prefix: str, manifest: Manifest) -> None:
        checkpoints.head.goes_on_from(prefix)
        state = fitting.state()
        checkpoints.load(prefix, state)
        fitting.restore(state, manifest.step)
        self.step = manifest.step
        self._committed = CommittedCheckpoint(
            step=manifest.step, prefix=prefix, digest=manifest.digest(), time=manifest.created.timestamp()
        )
        # The file still names the checkpoint of the previous round here, which may be incomplete.
        self._update(checkpoint=self._committed, step=manifest.step)

    # Between steps.

    def _after_step(self, fitting: TrainState, checkpoints: Checkpoints) -> None:
        if self._watch:
            self._watch.require_held()
        self.step = fitting.step
        first = self._progress.steps_this_round == 0
        self._step_progress(fitting)
        total = self._config.optimization.steps
        due = fitting.step % self._config.checkpoint_every == 0 or fitting.step == total or fitting.stopping
        if due:
            self._validate(fitting)
            began = time.monotonic()
            self._committed = checkpoints.save(fitting.state(), fitting.step, fitting.stream.taken)
            stall = time.monotonic() - began
            self._update(
                checkpoint=self._committed,
                committed_at=time.monotonic(),
                checkpoint_seconds=stall,
                checkpoint_stall_seconds=self._progress.checkpoint_stall_seconds + stall,
            )
        if (wanted := self._config.optimization.samples) and fitting.step % wanted.every_steps == 0:
            self._sample(fitting, checkpoints)
        self._write_progress(at_once=first or due)

    def _validate(self, fitting: TrainState) -> None:
        """Validate on rank 0; the others wait here, so that they do not count this time as the checkpoint's."""
        began = time.monotonic()
        found = fitting.validation_losses() if self._group.rank == 0 else None
        loss, levels = self._group.broadcast((float(found.mean), found.by_level()) if found else (None, ()))
        seconds = self._progress.validation_stall_seconds + time.monotonic() - began
        self._update(validation_loss=loss, validation_level_losses=levels, validation_stall_seconds=seconds)

    def _sample(self, fitting: TrainState, checkpoints: Checkpoints) -> None:
        """Make clips on rank 0; the others wait."""
        if self._group.rank == 0 and not fitting.stopping:
            # Imported late: what encodes clips would delay the start of every round.
            from kinema_jobs.train.samples import make_samples

            make_samples(self._config, fitting, self._given.scratch, checkpoints.upload)
        self._group.broadcast(True)

    def _step_progress(self, fitting: TrainState) -> None:
        now, seconds = time.time(), fitting.step_seconds
        self._update(
            step=fitting.step,
            loss=fitting.loss,
            level_losses=fitting.level_losses,
            step_seconds=seconds,
            tokens_per_second=fitting.tokens / seconds if seconds else None,
            last_step_time=now,
            step_ended_at=time.monotonic(),
            first_step_time=self._progress.first_step_time or now,
            data_wait_seconds=fitting.data_wait_seconds,
            steps_this_round=self._progress.steps_this_round + 1,
        )

    # Progress for the agent.

    def _begin_progress(self) -> None:
        given = self._given
        before = read_progress(given.settings.progress_file)
        blank = ProgressFile(run=self._config.run, attempt=self._config.attempt, port=given.port)
        kept: dict[str, Any] = {}
        if before:
            kept = {"step": before.step, "loss": before.loss, "checkpoint": before.checkpoint}
        self._progress = blank.model_copy(
            update={
                **kept,
                "round": self._group.place.number,
                "rank": self._group.rank,
                "world_size": self._group.world_size,
                "nodes": self._group.place.nodes,
                "total_steps": self._config.optimization.steps,
            }
        )
        self._write_progress(at_once=True)

    def _finished(self) -> None:
        self._update(exported=True, step=self._config.optimization.steps)
        self._write_progress(at_once=True)

    def _update(self, **fields: Any) -> None:
        self._progress = self._progress.model_copy(update=fields)

    def _write_progress(self, *, at_once: bool) -> None:
        now = time.monotonic()
        if self._group.local_rank == 0 and (at_once or now - self._written >= _WATCHDOG_SECONDS):
            write_progress(self._given.settings.progress_file, self._progress)
            self._written = now

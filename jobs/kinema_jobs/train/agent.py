"""The agent of a node: a torchelastic agent that ends a round without delay and distinguishes failures.

Stock torchelastic waits for a collective to time out when a peer is lost, retries every failure alike and turns each
exit code into 1. Here the rendezvous service ends the round when a member is lost, arrives or leaves; a worker that
fails by itself ends the agent with the exit code and the termination message of its failure class.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from torch.distributed.elastic.agent.server.api import RunResult, Worker, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousGracefulExitError,
)

from kinema_api.run import GRACE_MARGIN_SECONDS, leaving_seconds
from kinema_api.wire import TerminationMessage
from kinema_jobs.rendezvous.elastic import KinemaRendezvous
from kinema_jobs.rendezvous.membership import Notice
from kinema_jobs.train import failures
from kinema_jobs.train.assignment import DONE, Assignment
from kinema_jobs.train.entry import work
from kinema_jobs.train.lease import Lease
from kinema_jobs.train.pieces import PieceLimit
from kinema_jobs.train.progress import read_progress
from kinema_jobs.train.settings import TrainerSettings
from kinema_jobs.train.telemetry import Telemetry

ROLE: Final = "trainer"
_KILL_SECONDS: Final = 5
_UNLIMITED: Final = 1_000_000

logger = logging.getLogger(__name__)


class TrainingAgent(LocalElasticAgent):
    """Runs rounds until the run is done, fails, or this node has to leave. `word` is the termination message."""

    def __init__(
        self,
        rendezvous: KinemaRendezvous,
        assign: Callable[[KinemaRendezvous], Assignment],
        slots: int,
        lease: Lease,
        settings: TrainerSettings,
        telemetry: Telemetry,
    ) -> None:
        spec = WorkerSpec(
            role=ROLE,
            local_world_size=slots,
            rdzv_handler=rendezvous,
            entrypoint=work,
            max_restarts=_UNLIMITED,
            monitor_interval=settings.monitor_seconds,
        )
        super().__init__(spec, DefaultLogsSpecs(log_dir=os.devnull), start_method="forkserver")
        self.word: TerminationMessage | None = None
        self.done = False
        self._rendezvous_handler = rendezvous
        self._assign = assign
        self._lease = lease
        self._settings = settings
        self._telemetry = telemetry
        self._asked_to_leave = False
        self._fruitless = 0
        self._crashes = 0
        self._oom_kills = failures.oom_kills()
        self._assignment: Assignment | None = None

    def asked_to_leave(self) -> bool:
        """Whether SIGTERM has come."""
        return self._asked_to_leave

    def take_signals(self) -> None:
        """Make SIGTERM ask this node to leave; torchelastic's own handlers raise wherever the process is."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave_soon)

    # torchelastic's hooks.

    def _invoke_run(self, role: str = ROLE) -> RunResult:
        group = self._worker_group
        try:
            while not self._asked_to_leave:
                self._initialize_workers(group)
                result = self._attend(group)
                self._kill(group)
                if result is not None:
                    return result
        except RendezvousClosedError as error:
            self.done = True
            raise RendezvousGracefulExitError(str(error)) from None
        except RendezvousConnectionError as error:
            return self._failed(TerminationMessage(failure_class="network", message=str(error), step=self._step()))
        except (RendezvousGracefulExitError, SignalException):
            self._asked_to_leave = True
        self._kill(group)
        return self._failed(TerminationMessage(failure_class="preemption", message=_LEFT, step=self._step()))

    def _assign_worker_ranks(
        self, store: Any, group_rank: int, group_world_size: int, spec: WorkerSpec
    ) -> list[Worker]:
        """Ranks as the rendezvous gave them: exchanging them through the TCPStore could hang."""
        place = self._rendezvous_handler.place
        assert place is not None
        return [
            Worker(
                local_rank=local,
                global_rank=place.base + local,
                role_rank=place.base + local,
                world_size=place.world,
                role_world_size=place.world,
            )
            for local in range(spec.local_world_size)
        ]

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        self._lease.ask_to_stop(False)
        self._assignment = self._assign(self._rendezvous_handler)
        self._assignment.termination_message.unlink(missing_ok=True)
        for local_rank in range(worker_group.spec.local_world_size):
            self._assignment.abort_file(local_rank).unlink(missing_ok=True)
        worker_group.spec.args = (self._assignment,)
        started: dict[int, Any] = super()._start_workers(worker_group)
        self.take_signals()  # starting workers has installed torchelastic's handlers
        return started

    def _stop_workers(self, worker_group: WorkerGroup) -> None:
        self._kill(worker_group)

    # One round.

    def _attend(self, group: WorkerGroup) -> RunResult | None:
        """Watch a round until it is over; returns a result if the agent is to end too."""
        place = self._rendezvous_handler.place
        assert place is not None
        logger.info("round %d: node %d of %d, world size %d", place.number, place.rank, place.nodes, place.world)
        membership = self._rendezvous_handler.membership
        stop_by: float | None = None
        patience = 0.0
        while True:
            notice = membership.await_notice(self._settings.monitor_seconds)
            result = self._monitor_workers(group)
            if result.state is not WorkerState.HEALTHY:
                return self._ended(result, notice)
            if notice is not None and not notice.planned:
                self._over(notice)
                return None
            if stop_by is None and (self._asked_to_leave or notice is not None):
                patience = self._leave_seconds()
                stop_by = time.monotonic() + patience
                logger.info("round %d ends at the next step: %s", place.number, _why(notice))
                self._lease.ask_to_stop(True)
                if self._asked_to_leave:
                    membership.leaving()
            if stop_by is not None and time.monotonic() > stop_by:
                logger.warning("the worker did not finish its step within %g s and is killed", patience)
                self._over(notice)
                return None
            if notice is not None:
                time.sleep(self._settings.monitor_seconds)  # await_notice returns at once from here on

    def _leave_seconds(self) -> float:
        """How long workers may take to reach a step boundary and commit, within the pod's grace period."""
        now = read_progress(self._settings.progress_file)
        measured = leaving_seconds(now.step_seconds, now.checkpoint_seconds) if now else 0.0
        wanted = max(self._settings.leave_seconds, measured)
        if not self._asked_to_leave:
            return wanted
        assert self._assignment is not None
        most = max(1.0, self._assignment.config.grace_seconds - GRACE_MARGIN_SECONDS)
        # Before the first commit its duration is unknown.
        return min(wanted, most) if now and now.checkpoint_seconds is not None else most

    def _over(self, notice: Notice | None) -> None:
        """The round is over; join the next one."""
        logger.warning("round is over: %s", _why(notice))
        self._count("resize" if notice is not None and notice.planned else "loss")

    def _ended(self, result: RunResult, notice: Notice | None) -> RunResult | None:
        """The workers have ended by themselves."""
        if result.state is WorkerState.SUCCEEDED:
            if all(value == DONE for value in result.return_values.values()):
                self._rendezvous_handler.set_closed()
                self.done = True
                return result
            self._count("resize")
            return None
        codes = [failure.exitcode for failure in result.failures.values()]
        word = self._own_word()
        if word and word.failure_class == "out_of_memory" and self._smaller_pieces():
            return None
        word = word or next(filter(None, (failures.word_of_exit_code(code, self._step()) for code in codes)), None)
        if word:
            return self._failed(word)
        if all(self._without_its_peers(failure) for failure in result.failures.values()):
            return self._without_step("loss" if notice is not None else "collective")
        if (kills := failures.oom_kills()) > self._oom_kills:
            self._oom_kills = kills
            if self._smaller_pieces():
                return None
            message = failures.out_of_memory_advice("the kernel killed the worker: out of memory")
            return self._failed(TerminationMessage(failure_class="out_of_memory", message=message, step=self._step()))
        return self._crashed(codes)

    def _without_its_peers(self, failure: ProcessFailure) -> bool:
        """Whether a worker ended because its round was over or a collective broke, not by a failure of its own."""
        if failure.exitcode == -signal.SIGABRT:
            assert self._assignment is not None
            return self._assignment.aborted_from_outside_python(failure.local_rank)
        return failure.exitcode in (failures.PEER_LOST, failures.STALE_ROUND)

    def _without_step(self, reason: str) -> RunResult | None:
        """A round broke; several in a row without a step are a failure."""
        self._fruitless = 0 if self._stepped() else self._fruitless + 1
        self._count(reason)
        if self._fruitless < self._settings.fruitless_rounds:
            return None
        message = (
            f"{self._fruitless} consecutive rounds ended without a step: check that pods of this training "
            "can reach each other"
        )
        return self._failed(TerminationMessage(failure_class="network", message=message, step=self._step()))

    def _smaller_pieces(self) -> bool:
        """Use smaller micro-batches from the next round on; False if they are single clips already."""
        assert self._assignment is not None
        limit = PieceLimit.read(self._assignment.scratch)
        if limit is None or limit.smallest:
            return False
        smaller = replace(limit.halved(), learnt=True)
        smaller.write(self._assignment.scratch)
        self._count("memory")
        logger.warning("out of memory with micro-batches of %d tokens: using %d", limit.tokens, smaller.tokens)
        return True

    def _crashed(self, codes: list[int]) -> RunResult | None:
        self._crashes = 1 if self._stepped() else self._crashes + 1
        self._count("crash")
        if self._crashes <= self._settings.crashes:
            logger.warning("a worker exited with %s and is restarted", codes)
            return None
        message = f"workers died with {codes}, {self._crashes} consecutive times: see the trainer's log"
        return self._failed(TerminationMessage(failure_class="unknown", message=message, step=self._step()))

    def _failed(self, word: TerminationMessage) -> RunResult:
        self.word = word
        return RunResult(state=WorkerState.FAILED)

    # State.

    def _own_word(self) -> TerminationMessage | None:
        path = self._assignment.termination_message if self._assignment else None
        if path is None or not path.is_file():
            return None
        return TerminationMessage.model_validate_json(path.read_bytes())

    def _stepped(self) -> bool:
        """Whether the current round has done a step."""
        place, now = self._rendezvous_handler.place, read_progress(self._settings.progress_file)
        return bool(place and now and now.round == place.number and now.steps_this_round)

    def _step(self) -> int | None:
        now = read_progress(self._settings.progress_file)
        return now.step if now else None

    def _count(self, reason: str) -> None:
        self._telemetry.round_ended(reason)

    def _kill(self, group: WorkerGroup) -> None:
        """SIGKILL: a worker that hangs in a collective handles no other signal, and the checkpoint has its state."""
        self._shutdown(signal.SIGKILL, timeout=_KILL_SECONDS)
        group.state = WorkerState.STOPPED

    def _leave_soon(self, number: int, frame: object) -> None:
        self._asked_to_leave = True


_LEFT: Final = "the node received SIGTERM: its work continues elsewhere from the last checkpoint"


def _why(notice: Notice | None) -> str:
    return notice.reason if notice else "this node received SIGTERM"

"""Entry point of a worker process: what it needs has been imported by the fork server, not by the agent."""

from __future__ import annotations

from kinema_jobs.train.assignment import Assignment


def work(assignment: Assignment) -> str:
    """Train one round; returns how it ended (see assignment.py)."""
    from kinema_jobs.train.worker import run_worker

    return run_worker(assignment)

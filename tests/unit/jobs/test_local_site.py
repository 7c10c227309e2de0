"""What a local run decides for its processes."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_api import names
from kinema_jobs.local.site import threads_each


@given(workers=st.integers(1, 64))
def test_workers_take_no_more_threads_than_there_are_cores_and_each_has_one(workers: int) -> None:
    cores = len(os.sched_getaffinity(0))
    threads = int(threads_each(workers, {}))
    assert threads >= 1
    assert threads * workers <= max(cores, workers)
    assert (threads + 1) * workers > cores


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_what_the_user_says_about_threads_stands(workers: int) -> None:
    assert threads_each(workers, {names.ENV_THREADS: "3"}) == "3"

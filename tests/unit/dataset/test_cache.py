"""The cache of samples: never above its bound, whoever writes, and whatever was left by a process that was killed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_dataset.cache import SampleCache

LIMIT = 1000


def content(number: int, size: int) -> bytes:
    return bytes([number]) * size


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != "lock")


class Counted:
    """Gives bytes, and counts how often."""

    def __init__(self, data: bytes) -> None:
        self.data, self.calls = data, 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.data


def get(cache: SampleCache, data: bytes) -> int:
    fetch = Counted(data)
    assert cache.get(sha256(data).hexdigest(), fetch) == data
    return fetch.calls


@settings(max_examples=examples(60))
@given(asked=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([1, 90, 400, 999, 1000, 1001])), max_size=30))
def test_it_never_exceeds_its_bound(asked: list[tuple[int, int]]) -> None:
    with TemporaryDirectory() as root:
        cache = SampleCache(Path(root), LIMIT)
        for number, size in asked:
            get(cache, content(number, size))
            assert used(Path(root)) <= LIMIT
            assert get(cache, content(number, size)) == (size > LIMIT)


def test_it_never_exceeds_its_bound_while_many_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    write = Path.write_bytes

    def watched(path: Path, data: bytes) -> int:
        nonlocal most
        length = write(path, data)
        most = max(most, used(tmp_path))
        return length

    monkeypatch.setattr(Path, "write_bytes", watched)
    with ThreadPoolExecutor(6) as threads:
        # Each has a cache of its own, as processes have; a lock of a file that was opened twice holds between threads.
        calls = [threads.submit(get, SampleCache(tmp_path, LIMIT), content(n % 17, 100 + n)) for n in range(60)]
        assert {call.result() for call in calls} <= {0, 1}
    assert 0 < most <= LIMIT


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = SampleCache(tmp_path, LIMIT)
    for number in range(4):
        get(cache, content(number, 240))
    assert get(cache, content(0, 240)) == 0
    get(cache, content(4, 240))
    assert get(cache, content(0, 240)) == 0
    assert get(cache, content(1, 240)) == 1


def test_a_disk_that_is_full_costs_speed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SampleCache(tmp_path, LIMIT)

    def full(_: Path, __: bytes) -> int:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert [get(cache, b"x" * 10) for _ in range(2)] == [1, 1]
    assert [get(cache, b"x" * 10) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize("note", [b"", b"12a", b"-5"])
def test_what_a_killed_process_left_is_counted_anew(tmp_path: Path, note: bytes) -> None:
    cache = SampleCache(tmp_path, LIMIT)
    get(cache, content(1, 600))
    (tmp_path / "lock").write_bytes(note)
    (tmp_path / "abc.partial").write_bytes(bytes(900))
    get(cache, content(2, 300))
    assert used(tmp_path) == 900
    assert (tmp_path / "lock").read_bytes() == b"900"


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-1] + b"?"])
def test_a_damaged_copy_is_fetched_again(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    cache, data = SampleCache(tmp_path, LIMIT), content(1, 50)
    path = tmp_path / sha256(data).hexdigest()
    get(cache, data)
    path.write_bytes(spoil(data))
    assert [get(cache, data) for _ in range(2)] == [1, 0]
    assert used(tmp_path) == 50


def test_errors_of_the_reader_pass_through(tmp_path: Path) -> None:
    def away() -> bytes:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        SampleCache(tmp_path, LIMIT).get("0" * 64, away)

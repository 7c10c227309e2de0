"""Preparing on a real object store: two processes at once, one of them killed, and who reads the dataset."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import pytest

from cluster.ports import free_port
from integration.suite_store import KEYS, bucket
from kinema_api import launch, objectstore
from kinema_api.prepare import PrepareProgress, PrepareResult
from kinema_dataset.source import DatasetSource
from kinema_jobs.prepare.dataset_reader import StoreReader
from unit.jobs.prepare.material import BUCKET, LENIENT, config, drawn, real, started
from unit.jobs.prepare.test_prepare_killed import ended


@pytest.fixture
def environment(minio_endpoint: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "keys.json").write_text(KEYS.model_dump_json(by_alias=True))
    return {objectstore.ENV_ENDPOINT: minio_endpoint, objectstore.ENV_CREDENTIALS: str(tmp_path / "keys.json")}


def test_two_workers_prepare_a_bucket(minio_endpoint: str, environment: dict[str, str], tmp_path: Path) -> None:
    store = bucket(minio_endpoint, BUCKET)
    for number in range(5):
        store.put(f"videos/{number}.mp4", drawn(tmp_path / "one.mp4", number, frames=16))
        store.put(f"videos/{number}.txt", f"clip {number}".encode())
    store.put("videos/real.mp4", real("carphone_pristine"))
    store.put("videos/metadata.csv", b'file_name,text\r\nreal.mp4,"a man, in a ""car""\nspeaks"\r\n')
    of = config(filters=LENIENT)
    first, second = (started(tmp_path, of, worker, **environment) for worker in range(2))
    if ended(first, 6) is None:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert second.wait(250) == 0
    result = PrepareResult.model_validate_json(store.get(of.result))
    (dataset,) = result.datasets
    source = DatasetSource(StoreReader(lambda: store, dataset.prefix), tmp_path / "cache", 0)
    assert source.manifest.digest == dataset.digest
    assert dataset.inputs == 6
    captions = {source.record(index).about.captions.short for index in range(len(source))}
    assert 'a man, in a "car" speaks' in captions
    assert len(source.clips(range(len(source)))) == len(source)
    with started(tmp_path, of, 3, **environment) as late:
        assert late.wait(100) == 0, "who comes late finds the result"
    assert store.get(of.result) == result.model_dump_json(by_alias=True).encode()


def test_progress_and_metrics_are_served(minio_endpoint: str, environment: dict[str, str], tmp_path: Path) -> None:
    store, port = bucket(minio_endpoint, "served"), free_port()
    store.put("videos/real.mp4", real("bikes"))
    store.put("videos/real.txt", b"a street")
    variables = {**environment, objectstore.ENV_BUCKET: "served", launch.ENV_PROGRESS_PORT: str(port)}
    of = config(uri="s3://served/videos/")
    process = started(tmp_path, of, **variables)
    seen: list[PrepareProgress] = []
    while ended(process, 0.1) is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
                seen.append(PrepareProgress.model_validate_json(answer.read()))
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                assert b"kinema_preparing_wanted" in answer.read()
        except OSError:
            continue  # it starts, or has ended
    assert any((now.stage, now.total, now.uri) == ("preparing", 1, of.videos[0].uri) for now in seen)

"""A run's base is found once, pinned in the status before the first attempt starts, and readable by its trainers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kinema_api import launch, layout, serving
from kinema_api.base import utc_now
from kinema_api.finetune import MODEL_CONFIG, BaseClip, BaseStatus
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_model.config import PRESETS
from kinema_operator.core.plan import KubeObject
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.shell.sts import scoped_policy
from kinema_operator.training import scope
from kinema_operator.training.bases import find_base
from kinema_operator.training.effects import IssueCredentials
from kinema_operator.training.objects import secret
from kinema_operator.training.observed import BaseSeen, Observed, ResumePoint
from kinema_operator.training.plan import decide
from kinema_operator.training.scope import Scope
from kinema_operator.training.view import View
from unit.operator.training.bucket import bucket, look
from unit.operator.training.facts import condition, message, status_of

CONFIG = PRESETS["tiny"].to_json().encode()
OWN = {"endpoint": "http://other:9000", "bucket": "kinema", "secretRef": {"name": "keys"}}


def published(store: ObjectStore, prefix: str | None = None, config: bytes = CONFIG, **fields: Any) -> str:
    """The digest of a model of one file, in its own folder or below `prefix`."""
    files = (ManifestFile(name=MODEL_CONFIG, sha256="a" * 64, bytes=len(config)),)
    parts = {"kind": "model", "run": 1, "attempt": 1, "round": 1, "step": 1, "world_size": 1, "samples": 1} | fields
    found = Manifest(files=files, created=datetime(2026, 3, 1, tzinfo=UTC), **parts)
    prefix = prefix or layout.model_prefix(found.digest())
    store.put(prefix + MODEL_CONFIG, config)
    store.put(prefix + layout.MANIFEST, found.to_bytes())
    return found.digest()


def models(*found: dict[str, Any]) -> ObjectCache:
    cache = ObjectCache(lambda _: None)
    cache.watch_kind(serving.KIND, {})
    for number, each in enumerate(found):
        metadata = {"name": each.pop("name"), "namespace": each.pop("namespace", "team"), "uid": "m"}
        obj: KubeObject = {"kind": serving.KIND, "metadata": metadata | {"resourceVersion": str(number + 1)}, **each}
        cache.advance(serving.KIND, "ADDED", obj)
    return cache


def begins_with(**init: str) -> dict[str, Any]:
    return {"initFrom": init}


BASE = BaseStatus(
    digest=f"sha256:{'b' * 64}",
    uri="s3://kinema/models/bb/",
    clip=BaseClip(frames=8, pixels=576, fps=8, cell=(1, 8, 8)),
)
RESUME = ResumePoint(1, 0, None)
MODEL = begins_with(digest=BASE.digest)


async def test_the_first_attempt_starts_once_the_status_names_the_base(
    make_training: Any, tmp_path: Path, settings: Any
) -> None:
    store = bucket(tmp_path)
    digest = published(store)
    plan = await look(make_training(model=begins_with(digest=digest)), store, settings)
    status = status_of(plan)
    assert status.attempt == 1
    assert status.base == BaseStatus(digest=digest, uri=f"s3://kinema/{layout.model_prefix(digest)}", clip=BASE.clip)
    assert not any(isinstance(effect, IssueCredentials) for effect in plan.effects), "the status names it first"
    training = make_training(status.to_wire(), model=begins_with(digest=digest))
    assert scope.of_trainers(training).browse == (layout.model_prefix(digest),)
    assert IssueCredentials() in decide(View(training, Observed(), settings, utc_now())).effects
    config = launch.run_config(make_training(status.to_wire(), model=begins_with(digest=digest)), 1, 1, None)
    assert config.base is not None
    assert (config.base.digest, config.base.prefix) == (digest, layout.model_prefix(digest))


async def test_a_digest_that_does_not_exist_is_waited_for(make_training: Any, tmp_path: Path, settings: Any) -> None:
    plan = await look(make_training(model=MODEL), bucket(tmp_path), settings)
    assert (status_of(plan).phase, status_of(plan).attempt) == ("Pending", 0)
    assert condition(plan, "Running") == ("False", "BaseNotFound")
    assert message(plan, "Running").endswith("or correct model.initFrom; the operator looks again")
    assert plan.requeue_after == settings.store_probe_seconds


def test_a_base_is_not_looked_for_again_during_a_run(make_view: Any) -> None:
    other = BASE.model_copy(update={"digest": f"sha256:{'c' * 64}"})
    status = {"run": 1, "attempt": 1, "phase": "Pending", "base": BASE.to_wire(), "notBefore": "2026-01-01T00:00:00Z"}
    seen = Observed(resume=ResumePoint(1, 1, None), base=BaseSeen(other))
    assert status_of(decide(make_view(status, seen, model=MODEL))).base == BASE


def test_a_new_run_looks_for_its_base_anew(make_view: Any, now: datetime) -> None:
    other = BASE.model_copy(update={"digest": f"sha256:{'c' * 64}", "uri": "s3://kinema/models/cc/"})
    before = {"run": 1, "attempt": 1, "phase": "Succeeded", "base": BASE.to_wire()}
    seen = Observed(resume=ResumePoint(2, 0, None), base=BaseSeen(other), credentials_expire=now + timedelta(hours=1))
    plan = decide(make_view(before, seen, model=MODEL, runId="again"))
    assert (status_of(plan).run, status_of(plan).attempt, status_of(plan).base) == (2, 1, other)
    assert not any(isinstance(effect, IssueCredentials) for effect in plan.effects), "the status names it first"


def test_without_a_base_nothing_is_waited_for_and_no_other_prefix_is_read(make_view: Any) -> None:
    plan = decide(make_view(None, Observed(resume=RESUME)))
    assert status_of(plan).attempt == 1
    assert IssueCredentials() in plan.effects


def test_keys_of_a_run_with_another_base_are_issued_again(make_training: Any, now: datetime) -> None:
    here = StoreLocation(endpoint="http://minio:9000", bucket="kinema")
    keys = StoreCredentials(access_key="a", secret_key="s", expires=now.timestamp() + 3600)
    begun = {"run": 1, "attempt": 1, "phase": "Training", "base": BASE.to_wire()}
    made = secret.storage_secret(make_training(begun, model=MODEL), here, keys)
    assert secret.expiry(made, make_training(begun, model=MODEL), here) is not None
    other = {**begun, "base": {**BASE.to_wire(), "uri": "s3://kinema/models/cc/"}}
    assert secret.expiry(made, make_training(other, model=MODEL), here) is None
    assert secret.expiry(made, make_training({**begun, "base": None}), here) is None


READY = {"name": "m", "spec": {"source": {}}, "status": {"digest": BASE.digest, "uri": BASE.uri}}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ((), "BaseNotFound"),
        ((READY | {"namespace": "elsewhere"},), "BaseNotFound"),
        ((READY | {"status": {}},), "BaseNotResolved"),
        ((READY | {"spec": {"artifactStore": OWN}},), "BaseInOtherStore"),
        ((READY,), "BaseNotFound"),
    ],
    ids=["absent", "another namespace", "no model yet", "another store", "its files are gone"],
)
async def test_a_video_model_that_gives_no_base_is_named(
    make_training: Any, tmp_path: Path, found: tuple[dict[str, Any], ...], reason: str
) -> None:
    training = make_training(model=begins_with(model="m"))
    seen = await find_base(training, models(*(dict(each) for each in found)), bucket(tmp_path))
    assert seen is not None
    assert (seen.found, seen.reason) == (None, reason)
    assert seen.message


async def test_a_video_model_gives_the_model_that_it_serves(make_training: Any, tmp_path: Path) -> None:
    store = bucket(tmp_path)
    digest = published(store, "shared/wan/")
    model = READY | {"status": {"digest": digest, "uri": "s3://kinema/shared/wan/"}}
    seen = await find_base(make_training(model=begins_with(model="m")), models(model), store)
    assert seen == BaseSeen(BaseStatus(digest=digest, uri="s3://kinema/shared/wan/", clip=BASE.clip))


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("s3://kinema/shared/base/", ""),
        ("s3://kinema/inputs/team/base/", ""),
        ("s3://kinema/inputs/other/base/", "FolderNotAllowed"),
        ("s3://elsewhere/shared/base/", "FolderNotAllowed"),
        ("s3://kinema/shared/nothing/", "BaseNotFound"),
    ],
)
async def test_a_folder_is_read_where_its_namespace_may_read(
    make_training: Any, tmp_path: Path, folder: str, reason: str
) -> None:
    store = bucket(tmp_path)
    for prefix in ("shared/base/", "inputs/team/base/", "inputs/other/base/"):
        published(store, prefix)
    seen = await find_base(make_training(model=begins_with(folder=folder)), models(), store)
    assert seen is not None
    assert seen.reason == reason
    assert (seen.found is None) == bool(reason)


@pytest.mark.parametrize(
    ("config", "fields", "why"),
    [
        (b"{", {}, "cannot be read"),
        (b"[]", {}, "cannot be read"),
        (CONFIG.replace(b'"pixel"', b'"wavelet"'), {}, "codec 'wavelet' is not known"),
        (json.dumps(json.loads(CONFIG) | {"frames": 10**9}).encode(), {}, "cannot be read"),
        (CONFIG + b" " * (1 << 16), {}, "cannot be read"),
        (CONFIG, {"kind": "checkpoint"}, "holds no model"),
    ],
)
async def test_a_model_that_cannot_be_read_is_no_base(
    make_training: Any, tmp_path: Path, config: bytes, fields: dict[str, Any], why: str
) -> None:
    store = bucket(tmp_path)
    digest = published(store, config=config, **fields)
    seen = await find_base(make_training(model=begins_with(digest=digest)), models(), store)
    assert seen is not None
    assert (seen.found, seen.reason) == (None, "BaseUnreadable")
    assert why in seen.message


async def test_open_weights_are_no_base_and_told_so(make_training: Any, tmp_path: Path) -> None:
    store = bucket(tmp_path)
    files = (ManifestFile(name="model_index.json", sha256="a" * 64, bytes=1),)
    found = Manifest(
        kind="model", files=files, run=1, attempt=1, round=1, step=1, world_size=1, samples=1,
        created=datetime(2026, 3, 1, tzinfo=UTC),
    )  # fmt: skip
    store.put(f"shared/wan/{layout.MANIFEST}", found.to_bytes())
    seen = await find_base(make_training(model=begins_with(folder="s3://kinema/shared/wan/")), models(), store)
    assert seen is not None
    assert (seen.found, seen.reason) == (None, "BaseUnreadable")
    assert "served but not trained from" in seen.message


def test_keys_for_a_base_do_not_write_there() -> None:
    policy = json.loads(scoped_policy("kinema", Scope(("trainings/team/t/u/",), browse=("models/bb/",))))
    writes = [s["Resource"] for s in policy["Statement"] if "s3:PutObject" in s["Action"]]
    assert writes == [["arn:aws:s3:::kinema/trainings/team/t/u/*"]]
    reads = {each for s in policy["Statement"] if "s3:GetObject" in s["Action"] for each in s["Resource"]}
    assert "arn:aws:s3:::kinema/models/bb/*" in reads

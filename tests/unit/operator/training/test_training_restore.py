"""A training without a status goes on from what the bucket holds; one that a person made anew begins anew."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kinema_api import layout
from kinema_api.base import utc_now
from kinema_api.errors import StorageError
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.training import VideoModelTraining
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training.controller import TrainingController
from unit.operator.training.conftest import BASE

KEY = Key("VideoModelTraining", "team", "t")
LONG_AGO = "2026-03-01T12:00:00Z"


class Stores:
    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    async def checked(self, namespace: str, artifact_store: Any) -> ObjectStore:
        return self.store

    for_object = checked

    async def scoped_credentials(self, *_: Any) -> Any:
        raise StorageError("no keys here; none are needed")


class Api:
    """Keeps what is written to the training's metadata."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None

    async def patch(self, ref: Any, body: Any, resource_version: str | None) -> dict[str, Any]:
        self.metadata |= body["metadata"].get("annotations", {})
        return {}


class Home:
    """A cluster whose object is restored, and the bucket that has outlived it."""

    def __init__(self, folder: Path) -> None:
        (folder / "kinema").mkdir(parents=True)
        self.store = open_store(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"), None)
        self.api = Api()
        settings = Settings(store_endpoint=f"file://{folder}", store_bucket="kinema")
        self._controller = TrainingController(settings, self.api, Stores(self.store), 1)  # type: ignore[arg-type]

    def commit(self, uid: str, run: int, attempt: int, step: int) -> None:
        prefix = layout.attempt_prefix("team", "t", uid, run, attempt)
        self._write(layout.checkpoint_prefix(prefix, step, 1), "checkpoint", run, attempt, step)

    def export(self, uid: str, run: int, attempt: int) -> str:
        prefix = layout.export_prefix(layout.attempt_prefix("team", "t", uid, run, attempt))
        manifest = self._write(prefix, "model", run, attempt, 800)
        self.store.put(layout.model_prefix(manifest.digest()) + layout.MANIFEST, manifest.to_bytes())
        return manifest.digest()

    def _write(self, prefix: str, kind: Any, run: int, attempt: int, step: int) -> Manifest:
        self.store.put(prefix + "w", b"state")
        file = ManifestFile(name="w", sha256=hashlib.sha256(b"state").hexdigest(), bytes=5)
        manifest = Manifest(
            kind=kind, files=(file,), run=run, attempt=attempt, round=1, step=step, world_size=2, samples=1,
            created=datetime(2026, 3, 1, tzinfo=UTC),
        )  # fmt: skip
        self.store.put(prefix + layout.MANIFEST, manifest.to_bytes())
        return manifest

    async def live(self, looks: int = 8, **metadata: Any) -> dict[str, Any]:
        """The status after a few looks at a training that has none."""
        given = {"name": "t", "namespace": "team", "uid": "u", "generation": 1, "creationTimestamp": LONG_AGO}
        spec = metadata.pop("spec", {})
        obj: dict[str, Any] = {
            "apiVersion": "kinema.dev/v1alpha1",
            "kind": "VideoModelTraining",
            "metadata": given | metadata,
            "spec": BASE | {"publish": None} | spec,
        }
        obj["spec"].pop("publish")
        for look in range(looks):
            seen = await self._controller.observe(KEY, self._controller.parse(obj), ObjectCache(lambda _: None))
            plan = self._controller.plan(self._controller.parse(obj), seen, utc_now() + timedelta(seconds=30 * look))
            if plan.status is not None:
                obj["status"] = plan.status.to_wire()
            for effect in plan.effects:
                with suppress(StorageError):
                    await self._controller.perform(KEY, self._controller.parse(obj), effect)
        VideoModelTraining.parse(obj)
        found: dict[str, Any] = obj["status"]
        return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "store")


async def test_a_lost_status_does_not_train_from_nothing(home: Home) -> None:
    home.commit("u", 1, 1, 50)
    home.commit("u", 1, 2, 70)
    status = await home.live()
    assert (status["run"], status["attempt"]) == (1, 3)
    assert status.get("resumeFrom", "").endswith("attempt-002/step-00000070/round-0001/")


async def test_an_attempt_that_committed_nothing_is_looked_past(home: Home) -> None:
    home.commit("u", 1, 1, 50)
    home.store.put(layout.attempt_prefix("team", "t", "u", 1, 2) + "step-00000060/round-0001/w", b"torn")
    status = await home.live()
    assert (status["attempt"], status.get("resumeFrom", "").endswith("attempt-001/step-00000050/round-0001/")) == (
        3,
        True,
    )


async def test_a_published_model_is_found_again(home: Home) -> None:
    digest = home.export("u", 1, 2)
    status = await home.live()
    assert status["phase"] == "Succeeded"
    assert status["published"]["digest"] == digest


async def test_a_training_restored_from_a_backup_has_another_uid_and_goes_on(home: Home) -> None:
    home.commit("first-life", 2, 1, 50)
    home.commit("u", 1, 1, 999)  # below the UID that the restored object happens to have: nothing of its own
    annotations = {"kinema.dev/artifacts": "first-life/2/second"}
    status = await home.live(annotations=annotations, creationTimestamp=utc_now().isoformat(), spec={"runId": "second"})
    assert (status["run"], status["attempt"], status["runId"]) == (2, 2, "second")
    assert "/t/first-life/run-002/attempt-001/step-00000050/" in status.get("resumeFrom", "")


async def test_a_backup_that_is_older_than_the_bucket_begins_a_run_of_its_own(home: Home) -> None:
    home.commit("first-life", 3, 1, 50)
    status = await home.live(annotations={"kinema.dev/artifacts": "first-life/2/"})
    assert (status["run"], status["attempt"]) == (4, 1)
    assert "resumeFrom" not in status


async def test_a_training_made_anew_under_an_old_name_begins_anew(home: Home) -> None:
    home.commit("somebody-elses", 1, 1, 50)
    status = await home.live()
    assert (status["run"], status["attempt"], status.get("resumeFrom")) == (1, 1, None)


@pytest.mark.parametrize("told", ["../../x/1/", "a/b", "", "uid/1/../..", "u" * 65 + "/1/", "uid/9999999/"])
async def test_an_annotation_that_makes_no_sense_is_not_followed(home: Home, told: str) -> None:
    home.commit("u", 1, 1, 50)
    status = await home.live(annotations={"kinema.dev/artifacts": told})
    assert "/t/u/run-001/attempt-001/" in status.get("resumeFrom", "")


async def test_what_a_backup_needs_is_written_down(home: Home) -> None:
    home.export("u", 1, 1)
    await home.live()
    assert home.api.metadata == {"kinema.dev/artifacts": "u/1/"}

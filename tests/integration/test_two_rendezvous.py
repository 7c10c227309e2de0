"""Two rendezvous services of one attempt, each with real agents and workers that train, over a real MinIO.

So it is where a node is cut off from the API server only: its old rendezvous goes on, and another one is made.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kinema_api import launch, layout
from kinema_api.manifest import Manifest
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.objectstores import S3Store
from kinema_api.training import VideoModelTraining
from kinema_jobs.local.site import local_site
from kinema_operator.training import fence
from stage.trainers import Trainers, tiny_training

pytestmark = pytest.mark.timeout(900)

KEYS = StoreCredentials(access_key="kinema-test", secret_key="kinema-test-secret")
QUICK = {"KINEMA_RENDEZVOUS_LOST_SECONDS": "4", "KINEMA_RENDEZVOUS_HEARTBEAT_SECONDS": "0.5"}
MakeGroup = Callable[..., Trainers]


@pytest.fixture
def group_of(minio_endpoint: str, tmp_path: Path) -> Iterator[MakeGroup]:
    """Makes groups that know nothing of each other, of one attempt of one training in one bucket."""
    location = StoreLocation(endpoint=minio_endpoint, bucket="two-rendezvous")
    store = S3Store(location, KEYS)
    if not store._client.bucket_exists(bucket_name=location.bucket):
        store._client.make_bucket(bucket_name=location.bucket)
    keys = tmp_path / "credentials.json"
    keys.write_text(KEYS.model_dump_json(by_alias=True))
    uid = uuid.uuid4().hex
    made: list[Trainers] = []

    def make(name: str, training: VideoModelTraining) -> Trainers:
        meta = training.metadata.model_copy(update={"uid": uid})
        mine = training.model_copy(update={"metadata": meta})
        group = Trainers(tmp_path / name, mine, **QUICK)
        group.store = store
        group._app = launch.training_app(mine, group.config, local_site(group.folders, location, keys))
        made.append(group)
        return group

    yield make
    for group in made:
        group.close()


def own_checkpoint(group: Trainers) -> str:
    """Prefix of the newest checkpoint that the group's node says it has committed in its present round, or nothing."""
    now = group.progress(0)
    found = now.checkpoint
    mine = found and f"/round-{now.round:04d}/" in found.prefix
    return found.prefix if found and mine and now.steps_this_round else ""


def rounds_in_bucket(group: Trainers) -> dict[int, int]:
    """How many checkpoints each round has a manifest of."""
    keys = [found.key for found in group.store.list(group.config.prefix)]
    counts: dict[int, int] = {}
    for checkpoint in fence.committed(keys):
        counts[checkpoint.round] = counts.get(checkpoint.round, 0) + 1
    return counts


def test_the_older_of_two_groups_neither_trains_on_nor_commits(group_of: MakeGroup) -> None:
    training = tiny_training(1_000_000, nodes=1)
    old, new = group_of("old", training), group_of("new", training)
    old.start_service()
    old.start(0)
    old.until(lambda: own_checkpoint(old), "a commit of the first group")
    new.start_service()
    new.start(0)
    new.until(lambda: own_checkpoint(new), "a commit of the second group")
    taken_over = new.progress(0).step
    new.until(lambda: new.progress(0).step > taken_over + 50, "five more checkpoints of the second group")
    old_round, new_round = old.progress(0).round, new.progress(0).round
    stopped_at, before = old.progress(0).step, rounds_in_bucket(old)
    new.until(lambda: new.progress(0).step > taken_over + 120, "seven more checkpoints of the second group")
    after = rounds_in_bucket(old)
    grown = {round_ for round_ in after if after[round_] > before.get(round_, 0)}
    assert grown == {new_round}, "only the newer group commits"
    assert old.progress(0).step == stopped_at, "the older group does not train on"
    found = fence.find(new.store, new.config.prefix, None).checkpoint
    assert found is not None
    assert found.round == new_round
    assert old_round != new_round


def test_groups_that_begin_at_once_never_write_into_one_folder(group_of: MakeGroup) -> None:
    training = tiny_training(1_000_000, nodes=1)
    groups = [group_of("one", training), group_of("two", training)]
    folders: list[set[str]] = [set(), set()]
    for group in groups:
        group.start_service()
        group.start(0)

    def one_is_far() -> bool:
        for mine, group in zip(folders, groups, strict=True):
            mine.add(own_checkpoint(group))
        return any(group.progress(0).step > 150 for group in groups)

    groups[0].until(one_is_far, "one group far ahead")
    one, two = ({prefix for prefix in mine if prefix} for mine in folders)
    assert not one & two, "two groups have committed into the same folder"
    found = fence.find(groups[0].store, groups[0].config.prefix, None)
    assert found.checkpoint is not None
    assert found.passed_over == ()
    manifest = Manifest.from_bytes(groups[0].store.get(found.checkpoint.prefix + layout.MANIFEST), "")
    for file in manifest.files:
        assert groups[0].store.sha256(found.checkpoint.prefix + file.name) == (file.sha256, file.bytes)

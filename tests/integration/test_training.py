"""Real agents and workers of tiny trainings: killed, frozen, grown, cut off, and refused."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter, state_dict_saver
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.manifest import Manifest, ManifestFile
from kinema_jobs.train.progress import ProgressFile
from kinema_model.artefact import load_model
from stage.trainers import CLIPS, Trainers, tiny_training

pytestmark = pytest.mark.timeout(900)
Make = Callable[..., Trainers]

# Quick to notice silence; all else as in a cluster.
QUICK = {"KINEMA_RENDEZVOUS_LOST_SECONDS": "8", "KINEMA_RENDEZVOUS_HEARTBEAT_SECONDS": "0.5"}


@pytest.fixture
def trainers(tmp_path: Path) -> Iterator[Make]:
    made: list[Trainers] = []

    def make(*args: Any, **kwargs: Any) -> Trainers:
        made.append(Trainers(tmp_path, *args, **QUICK, **kwargs))
        return made[-1]

    yield make
    for group in made:
        group.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainers]:
    """Two nodes that train for long; each test brings back what the one before has ended."""
    group = Trainers(tmp_path_factory.mktemp("pair"), tiny_training(100_000), **QUICK)
    group.start_service()
    yield group
    group.close()


def together(pair: Trainers, steps: int = 3) -> ProgressFile:
    """Both nodes have stepped together; node 0's progress."""
    pair.start_missing(0, 1)
    pair.until_steps(1, 2, steps)
    return pair.until_steps(0, 2, steps)


def manifests(group: Trainers) -> dict[tuple[int, int], Manifest]:
    """Committed checkpoints by (step, round)."""
    found = heads.read(group.store, group.config.prefix)
    keys = [stat.key for stat in group.store.list(group.config.prefix)]
    committed = heads.named(group.config.prefix, found.head if found else None, keys)
    places = {key: layout.parse_checkpoint_manifest(key) for key in committed}
    return {at: Manifest.from_bytes(group.store.get(key), key) for key, at in places.items() if at}


def exported(group: Trainers, folder: Path) -> Manifest:
    """The exported model, loaded as a server would."""
    prefix = heads.export_of(group.store, group.config.prefix)
    assert prefix
    manifest = Manifest.from_bytes(group.store.get(prefix + layout.MANIFEST), prefix)
    folder.mkdir()
    for file in manifest.files:
        assert group.store.sha256(prefix + file.name) == (file.sha256, file.bytes)
        group.store.get_file(prefix + file.name, folder / file.name)
    load_model(folder)
    return manifest


def test_a_misconfigured_worker_is_a_user_error(trainers: Make) -> None:
    group = trainers(tiny_training(10, nodes=1, model={"preset": "tiny", "overrides": {"heads": 5}}))
    group.start(0)
    assert group.exit_code(0) == 2
    assert group.termination_message(0).failure_class == "user_error"
    assert "width 128 is not a multiple of 5 heads" in group.termination_message(0).message


def test_a_finished_run_leaves_a_model_and_sends_late_comers_home(trainers: Make, tmp_path: Path) -> None:
    steps = 25
    group = trainers(tiny_training(steps))
    group.start_service()
    group.start(0)
    group.until(lambda: group.progress(0).exported, "the export")
    group.start(1)
    assert [group.exit_code(0), group.exit_code(1)] == [0, 0]
    assert {step for step, _ in manifests(group)} == {10, 20, steps}
    final = max(manifests(group).items())[1]
    assert final.samples == steps * CLIPS
    model = exported(group, tmp_path / "model")
    assert (model.kind, model.step, model.attempt) == ("model", steps, 1)


def test_a_killed_node_is_done_without_and_comes_back(pair: Trainers) -> None:
    before = together(pair)
    victim = 0 if before.rank == 0 else 1
    survivor = 1 - victim
    pair.kill(victim)  # rank 0, which hosts the round's store
    alone = pair.until_steps(survivor, 1)
    assert alone.round > before.round
    grown = together(pair)
    assert grown.round > alone.round
    planned = max(at for at in manifests(pair) if at[1] == alone.round)[0]
    assert f"round {grown.round} resumes from step {planned} " in pair.log(survivor), "a grow loses no step"


def test_a_frozen_node_neither_trains_nor_commits_in_its_old_round(pair: Trainers) -> None:
    before = together(pair, steps=12)
    zombie = 0 if before.rank == 0 else 1
    survivor = 1 - zombie
    pair.signal(zombie, signal.SIGSTOP)
    alone = pair.until_steps(survivor, 1, steps=12)
    frozen = pair.progress(zombie)
    assert alone.round > frozen.round
    of_old_round = {at for at in manifests(pair) if at[1] == frozen.round}
    pair.signal(zombie, signal.SIGCONT)
    pair.until(lambda: pair.progress(zombie).round > frozen.round or pair.progress(zombie) != frozen, "a change")
    again = pair.progress(zombie)
    assert (again.round > alone.round) or again.step <= frozen.step + 1, "no step in the old round but the frozen one"
    pair.until_steps(zombie, 2)
    assert pair.progress(zombie).round > alone.round, "it came back as a newcomer"
    assert {at for at in manifests(pair) if at[1] == frozen.round} == of_old_round


def test_the_death_of_the_service_costs_a_round_and_no_attempt(pair: Trainers) -> None:
    before = together(pair)
    seen = [pair.log(i).count("round is over") for i in (0, 1)]
    pair.kill_service()
    pair.until(lambda: all(pair.log(i).count("round is over") > seen[i] for i in (0, 1)), "both to stop")
    pair.start_service()
    pair.until(lambda: pair.progress(0).round > before.round, "a new round")
    assert together(pair).round > before.round


def test_a_leaver_says_so_and_loses_no_step(pair: Trainers) -> None:
    before = together(pair)
    pair.signal(1, signal.SIGTERM)
    assert pair.exit_code(1) == 44
    assert pair.termination_message(1).failure_class == "preemption"
    after = pair.until_steps(0, 1)
    assert after.round > before.round
    last = max(at for at in manifests(pair) if at[1] == before.round)[0]
    assert f"round {after.round} resumes from step {last} " in pair.log(0)
    assert last >= before.step


def test_everything_is_restarted_past_a_torn_checkpoint(pair: Trainers) -> None:
    pair.until(lambda: len(manifests(pair)) >= 3, "three checkpoints")
    pair.kill_all()
    whole, torn = sorted(manifests(pair), key=lambda at: (at[1], at[0]))[-2:]
    prefix = layout.checkpoint_prefix(pair.config.prefix, *torn)
    name = next(f.name for f in manifests(pair)[torn].files if f.name.endswith(".distcp"))
    content = bytearray(pair.store.get(prefix + name))
    content[len(content) // 2] ^= 1
    pair.store.put(prefix + name, bytes(content))
    pair.start_service()
    pair.start(0)
    after = pair.until_steps(0, 1)
    assert f"{name} differs from its digest" in pair.log(0)
    assert f"round {after.round} resumes from step {whole[0]} " in pair.log(0)
    assert after.round > torn[1], "numbered above what the bucket holds"


def test_nan_is_numerics(pair: Trainers, trainers: Make) -> None:
    pair.until(lambda: manifests(pair), "a checkpoint")
    (step, round_), manifest = sorted(manifests(pair).items())[0]
    pair.kill_all()
    group = trainers(tiny_training(100_000, nodes=1), "trainings/poisoned/step-00000010/round-0001/")
    poison(pair, layout.checkpoint_prefix(pair.config.prefix, step, round_), manifest, group)
    group.start_service()
    group.start(0)
    assert group.exit_code(0) == 41
    word = group.termination_message(0)
    assert (word.failure_class, word.step) == ("numerics", step)
    assert "is nan: lower optimization.learningRate" in word.message


def poison(source: Trainers, prefix: str, manifest: Manifest, target: Trainers) -> None:
    """Give `target` a checkpoint to start from that is whole by its manifest, but whose weights are NaN."""
    scratch = target.folders.work / "poison"
    clean, spoilt = scratch / "clean", scratch / "spoilt"
    clean.mkdir(parents=True)
    for file in manifest.files:
        source.store.get_file(prefix + file.name, clean / file.name)
    state: dict[str, Any] = {}
    _load_state_dict(state, FileSystemReader(clean), planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    for weight in state["model"].values():
        weight.fill_(float("nan"))
    state_dict_saver.save(state, storage_writer=FileSystemWriter(spoilt), no_dist=True)
    assert target.config.resume_from
    files = []
    for path in sorted(spoilt.iterdir()):
        target.store.put_file(target.config.resume_from + path.name, path)
        digest, size = target.store.sha256(target.config.resume_from + path.name)
        files.append(ManifestFile(name=path.name, sha256=digest, bytes=size))
    spoilt_manifest = manifest.model_copy(update={"files": tuple(files)})
    target.store.put(target.config.resume_from + layout.MANIFEST, spoilt_manifest.to_bytes())

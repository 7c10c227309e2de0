"""The data of a run: the world, recorded clips that were prepared for it, or both."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kinema_api.errors import StorageUnreachable
from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import ObjectStore
from kinema_dataset.errors import BrokenShard
from kinema_dataset.own_size import OwnSizeSource
from kinema_jobs.train.data import DatasetAccess, data_of
from kinema_jobs.train.export import card
from kinema_jobs.train.failures import BadConfiguration, StorageFailure, termination_message
from kinema_jobs.train.settings import PodSettings
from kinema_jobs.train.shape import model_config_of
from kinema_jobs.train.train_state import TrainState, fit, start_data_workers
from kinema_model.conditions.tasks import Task
from kinema_model.mixing import MixedSource
from kinema_world.source import WorldSource
from unit.jobs.recorded import PREFIX, URI, Recorded, recorded
from unit.jobs.rounds import config, entered, lease


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return recorded(tmp_path_factory.mktemp("recorded"))


def test_recorded_clips_alone_are_the_source_with_the_run_s_own_seed(clips: Recorded) -> None:
    run = clips.run(richCaptions=0.25)
    data = data_of(run, model_config_of(run), clips.access())
    assert isinstance(data.source, OwnSizeSource)
    assert data.rich_captions == 0.25
    other = data_of(
        run.model_copy(update={"optimization": run.optimization.model_copy(update={"seed": 2})}),
        model_config_of(run),
        clips.access(),
    )
    assert data.source.digest != other.source.digest


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_recorded_clips_has_the_model_s_own_size(clips: Recorded, share: float) -> None:
    run = clips.run(ownSize=share)
    model = model_config_of(run)
    source = data_of(run, model, clips.access()).source
    assert isinstance(source, OwnSizeSource)
    plain = data_of(clips.run(ownSize=0), model, clips.access()).source
    resized = [source.is_resized(index) for index in range(40)]
    assert sum(resized) == 40 * share
    wanted = [
        (model.height, model.width_px) if own else (shape.height, shape.width)
        for own, shape in zip(resized, map(plain.shape, range(40)), strict=True)
    ]
    assert [(shape.height, shape.width) for shape in map(source.shape, range(40))] == wanted
    assert [tuple(clip.video.shape[1:3]) for clip in source.clips(range(40))] == wanted


def test_clips_of_a_mixture_have_the_caption_share_of_their_own_kind(clips: Recorded) -> None:
    run = clips.run(world={"richCaptions": 0.5, "weight": 1}, richCaptions=1)
    data = data_of(run, model_config_of(run), clips.access())
    assert isinstance(data.source, MixedSource)
    assert callable(data.rich_captions)
    kinds = {(data.source.place(index)[0], data.rich_captions(index)) for index in range(20)}
    assert kinds == {(0, 0.5), (1, 1.0)}
    assert set(data.source.files()) >= {"world.json", f"dataset-{clips.digest[7:23]}.json"}


@pytest.mark.parametrize(("world", "kind"), [({"weight": 0}, OwnSizeSource), (None, OwnSizeSource)])
def test_a_world_without_weight_is_not_shown(clips: Recorded, world: dict[str, float] | None, kind: type) -> None:
    run = clips.run(world=world)
    assert isinstance(data_of(run, model_config_of(run), clips.access()).source, kind)


def test_the_world_alone_needs_no_store() -> None:
    run = config()
    assert isinstance(data_of(run, model_config_of(run)).source, WorldSource)


def test_a_run_whose_videos_were_not_prepared_is_refused(clips: Recorded) -> None:
    run = clips.run().model_copy(update={"datasets": ()})
    with pytest.raises(BadConfiguration, match=r"data\.videos are not prepared: start the run with kinema run"):
        data_of(run, model_config_of(run), clips.access())


def test_another_dataset_than_the_one_of_the_run_is_refused(clips: Recorded) -> None:
    other = "sha256:" + "0" * 64
    run = clips.run()
    run = run.model_copy(update={"datasets": (run.datasets[0].model_copy(update={"digest": other}),)})
    with pytest.raises(BadConfiguration, match=f"dataset {PREFIX} is {clips.digest}, not {other}.* set a new runId"):
        data_of(run, model_config_of(run), clips.access())


def test_a_dataset_that_is_gone_names_its_folder(clips: Recorded) -> None:
    run = clips.run()
    run = run.model_copy(update={"datasets": (run.datasets[0].model_copy(update={"prefix": "datasets/default/no/"}),)})
    with pytest.raises(BadConfiguration, match=r"datasets/default/no/ cannot be read: .* set a new runId"):
        data_of(run, model_config_of(run), clips.access())


def test_a_flipped_byte_ends_the_run_with_what_helps(tmp_path: Path) -> None:
    clips = recorded(tmp_path)
    for shard in clips.folder.glob("*.safetensors"):
        spoilt = bytearray(shard.read_bytes())
        spoilt[-1] ^= 1
        shard.write_bytes(spoilt)
    run = clips.run()
    data = data_of(run, model_config_of(run), clips.access())
    with pytest.raises(BrokenShard) as raised:
        data.source.clips(range(40))
    word = termination_message(raised.value, 3)
    assert (word.failure_class, word.step) == ("user_error", 3)
    assert "prepare the dataset again" in word.message


class Away(FolderStore):
    """A store that does not respond to the first requests."""

    left = 2

    def get(self, key: str, limit: int = 1 << 30) -> bytes:
        if type(self).left:
            type(self).left -= 1
            raise StorageUnreachable("the store is away")
        return super().get(key, limit)


def test_a_store_that_is_away_is_asked_again_and_then_given_up(
    clips: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinema_jobs.train.storage.FIRST_WAIT", 0.01)
    run, connect = clips.run(), partial(Away, clips.location)
    access = replace(clips.access(connect), folder=tmp_path)
    assert isinstance(data_of(run, model_config_of(run), access).source, OwnSizeSource)
    Away.left = 10**6
    with pytest.raises(StorageFailure, match="the store is away"):
        data_of(run, model_config_of(run), replace(access, patience_seconds=0.05))


def test_each_process_opens_the_store_for_itself(clips: Recorded) -> None:
    run = clips.run()
    source = data_of(run, model_config_of(run), clips.access()).source
    again: OwnSizeSource = pickle.loads(pickle.dumps(source))
    assert torch.equal(again.clips([5])[0].video, source.clips([5])[0].video)
    assert pickle.loads(pickle.dumps(clips.access())).folder == clips.cache


def test_a_pod_s_settings_give_the_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KINEMA_TERMINATION_LOG": str(tmp_path / "log"),
        "KINEMA_STORE_ENDPOINT": f"file://{tmp_path}",
        "KINEMA_STORE_BUCKET": "kinema",
        "KINEMA_DATASET_CACHE_BYTES": "5",
        "KINEMA_TRAINER_SCRATCH": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    access = pickle.loads(pickle.dumps(DatasetAccess.of(PodSettings.from_environment())))
    assert (access.folder, access.cache_bytes) == (tmp_path / "datasets", 5)
    found: ObjectStore = access.connect()
    assert found.location.bucket == "kinema"


def _trained(clips: Recorded, folder: Path, workers: int, parts: tuple[int, ...] = (3,)) -> float:
    """The sum of all weights after three steps, which are taken in as many parts as wanted."""
    run = clips.run(
        world={}, tasks={"text": 1, "image": 1, "extend": 1, "fill": 1, "loop": 1, "inpaint": 1, "blend": 1}
    )
    run = run.model_copy(update={"optimization": run.optimization.model_copy(update={"data_workers": workers})})
    kept: tuple[dict[str, torch.Tensor], int] | None = None
    with entered(0, 1, dist.HashStore()) as alone:
        for end in parts:
            made = start_data_workers(run, clips.access())
            state = TrainState.build(run, alone, made, clips.access())
            if kept:
                state.restore(*kept)
            state.total = end
            fit(state, alone, lease(folder), partial(int))
            kept = state.state(), state.step
            if made is not None:
                made.close()
    assert state.validation_loss() > 0
    return sum(float(p.detach().double().abs().sum()) for p in state.learner.model.parameters())


@pytest.mark.slow
def test_a_run_that_is_resumed_takes_the_same_steps(clips: Recorded, tmp_path: Path) -> None:
    whole = _trained(clips, tmp_path, 0)
    (tmp_path / "lease").unlink()
    assert _trained(clips, tmp_path, 1, (1, 3)) == pytest.approx(whole, rel=1e-6)


def test_what_recorded_clips_ask_of_the_model(clips: Recorded) -> None:
    plain = model_config_of(clips.run())
    assert (plain.tasks, plain.rates, plain.max_frames, plain.max_side) == ((Task.TEXT,), (), 64, 256)
    pictures = model_config_of(clips.run(videos=[{"uri": URI, "filters": {"minFrames": 1}}]))
    assert pictures.tasks == (Task.TEXT, Task.PICTURE)
    run = clips.run()
    wide = run.model.model_copy(update={"preset": "small", "overrides": None})
    large = wide.parse({"preset": "small", "overrides": {"size": "512x256", "frames": 121}})
    assert model_config_of(run.model_copy(update={"model": wide})).max_side == 256
    found = model_config_of(run.model_copy(update={"model": large}))
    assert (found.max_frames, found.max_side) == (121, 724)


def test_a_card_names_every_folder_and_its_dataset(clips: Recorded) -> None:
    said = card(clips.run(world={"seed": 5}, richCaptions=0.25), 0.1, 0.2, "sha256:5", ("river",) * 501)
    assert "| data | synthetic world, seed 5, weight 1; scenes by weight: simple 1 |" in said
    assert f"| data | recorded clips of {URI}, weight 1: dataset {clips.digest} |" in said
    assert "| captions of recorded clips | rich for a share of 0.25, short for the rest |" in said
    assert "| sizes of recorded clips | the model's own for a share of 0.5, the clip's own for the rest |" in said
    assert "501 occur in its captions: river, " in said
    assert "river, ... |" in said
    alone = card(clips.run(), 0.1, 0.2, "sha256:5")
    assert "synthetic world" not in alone

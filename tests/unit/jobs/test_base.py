"""A run that begins with a model: its files are fetched once and verified, and what is wrong with them is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kinema_api import layout
from kinema_api.finetune import RunBase
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.run import RunConfig
from kinema_jobs.model_folder import sha256_of
from kinema_jobs.train.base import Base
from kinema_jobs.train.checkpoint import Checkpoints
from kinema_jobs.train.export import export
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.shape import model_config_of
from kinema_jobs.train.storage import RetryPolicy
from kinema_jobs.train.train_state import TrainState, fit
from kinema_model.adapters.folder import LORA_FILE, load_lora
from kinema_model.adapters.lora import merge_lora
from kinema_model.artefact import load_model, save_model
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.errors import BrokenArtefact
from unit.jobs.rounds import config, entered, lease

OVERRIDES = {"frames": 4, "size": "32x16", "fps": 4}


CONFIG = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, tasks=(Task.TEXT,), max_side=64)


def _drawn() -> dict[str, torch.Tensor]:
    """Weights of which none is zero: adapters of a network whose head is zero would have no gradient."""
    torch.manual_seed(0)
    return {name: p.detach() + 0.05 * torch.randn(p.shape) for name, p in VideoDenoiser(CONFIG).named_parameters()}


class Published:
    """A model in a bucket, and the store as it counts what is fetched."""

    def __init__(self, folder: Path) -> None:
        (folder / "store/kinema").mkdir(parents=True)
        self.location = StoreLocation(endpoint=f"file://{folder / 'store'}", bucket="kinema")
        self.store: ObjectStore = open_store(self.location, None)
        self.folder = folder / "model"
        save_model(self.folder, _drawn(), CONFIG, "# A model for tests")
        self.scratch = folder / "scratch"
        self.fetched: list[str] = []
        files = [
            ManifestFile(name=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)
            for path in sorted(self.folder.iterdir())
        ]
        self.manifest = Manifest(
            kind="model", files=tuple(files), run=1, attempt=1, round=1, step=1, world_size=1, samples=1,
            created=datetime(2026, 3, 1, tzinfo=UTC),
        )  # fmt: skip
        self.digest = self.manifest.digest()
        self.prefix = layout.model_prefix(self.digest)
        for path in self.folder.iterdir():
            self.store.put_file(self.prefix + path.name, path)
        self.store.put(self.prefix + layout.MANIFEST, self.manifest.to_bytes())

    def republish(self, name: str, content: bytes) -> None:
        """Publish a model with another file, whose manifest is in order."""
        self.store.put(self.prefix + name, content)
        file = ManifestFile(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        files = tuple(file if each.name == name else each for each in self.manifest.files)
        self.manifest = self.manifest.model_copy(update={"files": files})
        self.digest = self.manifest.digest()
        self.store.put(self.prefix + layout.MANIFEST, self.manifest.to_bytes())

    def connect(self) -> ObjectStore:
        """The store; the keys that are read from it are kept."""
        store = open_store(self.location, None)
        whole = store.get_file

        def get_file(key: str, path: Path, *limit: int) -> None:
            self.fetched.append(key.removeprefix(self.prefix))
            whole(key, path, *limit)

        store.get_file = get_file  # type: ignore[method-assign]
        return store

    def base(self, digest: str | None = None) -> Base:
        """As a process of a node has it."""
        return Base(
            RunBase(digest=digest or self.digest, prefix=self.prefix), self.connect, RetryPolicy(0), self.scratch
        )

    def run(self, **changes: object) -> RunConfig:
        """A run that begins with it."""
        init = {"model": {"initFrom": {"digest": self.digest}}, "base": {"digest": self.digest, "prefix": self.prefix}}
        return config(**(init | changes))


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


def test_a_node_fetches_the_config_alone_and_each_file_once(published: Published) -> None:
    first, second = published.base(), published.base()
    assert first.config() == second.config() == load_model(published.folder).config
    assert published.fetched == [layout.MANIFEST, "kinema.json"]
    weights = second.weights()
    first.weights()
    assert sorted(published.fetched) == sorted([layout.MANIFEST, *(file.name for file in published.manifest.files)])
    for name, tensor in load_model(published.folder).model.state_dict().items():
        assert torch.equal(weights[name], tensor)


def cut(published: Published) -> None:
    key = published.prefix + "diffusion_pytorch_model.safetensors"
    published.store.put(key, published.store.get(key)[:-1])


def changed(published: Published) -> None:
    key = published.prefix + "config.json"
    published.store.put(key, published.store.get(key).replace(b"2", b"3"))


def lost(published: Published) -> None:
    published.store.delete(published.prefix + "null_text.safetensors")


def replaced(published: Published) -> None:
    other = published.manifest.model_copy(update={"step": 2})
    published.store.put(published.prefix + layout.MANIFEST, other.to_bytes())


def no_manifest(published: Published) -> None:
    published.store.delete(published.prefix + layout.MANIFEST)


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (cut, "diffusion_pytorch_model.safetensors does not match"),
        (changed, "config.json does not match"),
        (lost, "null_text.safetensors"),
        (replaced, "it was replaced"),
        (no_manifest, "manifest.json"),
    ],
)
def test_a_damaged_base_is_refused_by_name_and_leaves_no_file_behind(
    published: Published, spoil: Callable[[Published], None], names: str
) -> None:
    spoil(published)
    with pytest.raises(BadConfiguration, match=r"correct spec.model.initFrom") as refused:
        published.base().weights()
    assert names in str(refused.value)
    assert not list(published.scratch.glob(".part-*"))


@pytest.mark.parametrize(
    ("name", "old", "new", "names"),
    [
        ("config.json", b"WanTransformer3DModel", b"UNet2DConditionModel", "describes 'UNet2DConditionModel'"),
        ("config.json", b'"num_layers": 1', b'"num_layers": 2', "describe two networks"),
        ("kinema.json", b'"num_layers": 1', b'"num_layers": 2', "describe two networks"),
        ("kinema.json", b'"pixel"', b'"wavelet"', "codec"),
        ("null_text.safetensors", b"[384]", b"[192]", "null_text.safetensors"),
    ],
)
def test_a_base_that_contradicts_itself_is_refused_by_name(
    published: Published, name: str, old: bytes, new: bytes, names: str
) -> None:
    content = (published.folder / name).read_bytes()
    assert old in content
    published.republish(name, content.replace(old, new))
    with pytest.raises(BadConfiguration, match=r"correct spec.model.initFrom") as refused:
        published.base().weights()
    assert names in str(refused.value)


def test_frames_size_and_rate_may_differ_from_the_base_and_the_network_may_not(published: Published) -> None:
    base = published.base().config()
    model = model_config_of(
        published.run(model={"initFrom": {"digest": published.digest}, "overrides": OVERRIDES}), base
    )
    assert (model.frames, model.width_px, model.height, model.fps) == (4, 32, 16, 4)
    assert model.network == base.network
    assert (model.prediction, model.level_shift, model.preset) == (base.prediction, base.level_shift, base.preset)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_a_run_begins_with_the_base_goes_on_from_its_checkpoint_and_exports_a_model(
    published: Published, tmp_path: Path, lora: dict[str, int] | None
) -> None:
    optimization = config().optimization.to_wire() | ({"lora": lora} if lora else {})
    run = published.run(optimization=optimization)
    assert run.learning_rate == (1e-2 if lora else 1e-3)
    own = load_model(published.folder).model.state_dict()
    with entered(0, 1, dist.HashStore()) as alone:
        fitting = TrainState.build(run, alone, base=published.base())
        fitting.begin()
        for name, tensor in fitting.learner.published_state().items():
            assert torch.equal(tensor, own[name])
        fit(fitting, alone, lease(tmp_path), lambda: None)
        checkpoints = Checkpoints(run, alone, published.store, RetryPolicy(0), tmp_path / "checkpoints")
        checkpoints.claim()
        checkpoints.save(fitting.state(), fitting.step, fitting.stream.taken)
        export(run, 1, fitting, checkpoints, tmp_path)
        published.fetched.clear()
        again = TrainState.build(run, alone, base=Base(run.base, published.connect, RetryPolicy(0), tmp_path / "b"))
        prefix = layout.checkpoint_prefix(run.prefix, 4, 1)
        checkpoints.fetch(prefix)
        found = again.state()
        checkpoints.load(prefix, found)
        again.restore(found, 4)
    weights = "diffusion_pytorch_model.safetensors"
    assert (weights in published.fetched) == bool(lora), "a checkpoint of all weights needs no other"
    for name, tensor in fitting.learner.published_state().items():
        assert torch.equal(again.learner.published_state()[name], tensor)
    exported = load_model(tmp_path / "export").model.state_dict()
    changed = {name for name, tensor in exported.items() if not torch.equal(tensor, own[name])}
    assert changed
    assert set(exported) == set(own)
    adapter = tmp_path / "export" / LORA_FILE
    assert adapter.is_file() == bool(lora)
    if lora:
        network = load_model(published.folder).model.network
        with pytest.raises(BrokenArtefact, match=f"adapter of the model {published.digest}, and this is sha256:other"):
            load_lora(adapter, network, base="sha256:other")
        load_lora(adapter, network, base=published.digest)
        merge_lora(network)
        for name, tensor in network.state_dict().items():
            assert torch.allclose(tensor, exported[f"network.{name}"], atol=1e-6)


@pytest.mark.slow
def test_a_checkpoint_from_another_base_is_not_gone_on_from(published: Published) -> None:
    run = published.run()
    with entered(0, 1, dist.HashStore()) as alone:
        fitting = TrainState.build(run, alone, base=published.base())
        state = fitting.state()
        state["base"] = torch.zeros_like(state["base"])
        with pytest.raises(BadConfiguration, match="the checkpoint was trained from sha256:000"):
            fitting.restore(state, 1)

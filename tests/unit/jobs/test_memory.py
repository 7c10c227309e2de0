"""What cannot fit is refused before it is begun, in one sentence, and by a bound that is never above the truth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinema_api.run import RunConfig
from kinema_api.training_memory import STATE_BYTES
from kinema_jobs.memory import free_host_memory, in_gib
from kinema_jobs.rendezvous.questions import Place
from kinema_jobs.train import memory
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.group import Group
from kinema_jobs.train.memory import memory_of, require_memory
from kinema_jobs.train.pieces import PieceLimit
from kinema_jobs.train.train_state import TrainState
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.diffusion.flow import flow_loss
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.objective import TrainingObjective
from kinema_world import World
from kinema_world.source import WorldSource

pytestmark = pytest.mark.slow


MIB = 1 << 20


def cgroup(folder: Path, limit: str, used: int, cached: int, version: int = 2) -> None:
    """A cgroup's files as the kernel writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    kept = ("inactive_file", "total_inactive_file")[version == 1]
    for name, text in zip((*names, "memory.stat"), (limit, used, f"anon 5\n{kept} {cached}"), strict=True):
        (folder / name).write_text(f"{text}\n")


def machine(folder: Path, own: str, available: int | None) -> tuple[Path, Path]:
    """The roots of its cgroups and of /proc."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(f"3:cpuset:/elsewhere\n{own}\n")
    if available is not None:
        (folder / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available // 1024} kB\n")
    return folder / "cgroups", folder / "proc"


@pytest.mark.parametrize(
    ("own", "version", "place"),
    [
        ("0::/pod/box", 2, "pod/box"),
        ("0::/pod/box", 2, "pod"),
        ("0::/", 2, ""),
        ("4:cpu,memory:/pod/box", 1, "memory/pod/box"),
        ("4:memory:/not/seen/from/inside", 1, "memory"),
    ],
)
def test_the_cgroup_that_leaves_least_tells_what_is_free(tmp_path: Path, own: str, version: int, place: str) -> None:
    root, proc = machine(tmp_path, own, 9000 * MIB)
    cgroup(root / place, str(1000 * MIB), 700 * MIB, 200 * MIB, version)
    assert free_host_memory(root, proc) == 500 * MIB


def test_an_outer_cgroup_counts_as_well(tmp_path: Path) -> None:
    root, proc = machine(tmp_path, "0::/pod/box", 9000 * MIB)
    cgroup(root / "pod/box", str(1000 * MIB), 0, 0)
    cgroup(root / "pod", str(1000 * MIB), 900 * MIB, 0)
    assert free_host_memory(root, proc) == 100 * MIB


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096)])
def test_without_a_limit_the_machine_s_memory_counts(tmp_path: Path, limit: str) -> None:
    root, proc = machine(tmp_path, "0::/box", 300 * MIB)
    cgroup(root / "box", limit, 5, 0)
    assert free_host_memory(root, proc) == 300 * MIB
    assert free_host_memory(root, tmp_path / "nowhere") is None


@pytest.mark.parametrize("shape", [(64, 6, 2), (256, 2, 4), (128, 4, 4)])
def test_activations_are_counted_from_below_and_closely(shape: tuple[int, int, int]) -> None:
    width, depth, heads = shape
    config = ModelConfig.from_preset("tiny", width=width, depth=depth, heads=heads)
    model = VideoDenoiser(config)
    objective = TrainingObjective(config, TextEncoder(), WorldSource(World.fixed(7, 8, 24, 24, 8)), 1)
    clean, noise = objective.batch(range(16), 0)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        flow_loss(model, clean, noise)
    counted = sum(storage.nbytes() for storage in kept.values())
    need = memory_of(config)
    assert 0.9 * counted < len(clean.tokens) * need.token <= counted
    assert need.state == STATE_BYTES * sum(p.numel() for p in model.parameters())


def group(world: int = 1) -> Group:
    """The first worker of a round on the CPU; no process group behind it."""
    place = Place("u/1/1", 1, "token", "me", 0, world, 0, world, "127.0.0.1:1")
    return Group(place, 0, world, 0, 1, torch.device("cpu"), "127.0.0.1:1", 1.0, None)


CONFIG = ModelConfig.from_preset("tiny")
CLIP = CONFIG.tokens_per_clip
NEED = memory_of(CONFIG)


@pytest.mark.parametrize(
    ("clips", "world", "held", "tokens"),
    [
        (1, 1, 1.0, CLIP),
        (8, 1, 99.0, 9 * CLIP),
        (8, 1, 7.99, int(7.99 * CLIP / 2)),
        (8, 2, 3.99, int(3.99 * CLIP / 2)),
        (8, 4, 2.0, CLIP),
        (8, 99, 1.0, CLIP),
        (640, 1, 9.99, int(9.99 * CLIP / 2)),
    ],
)
def test_a_step_of_any_size_is_computed_in_pieces_that_fit(
    clips: int, world: int, held: float, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = NEED.state + int(held * CLIP * NEED.token)
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    assert require_memory(CONFIG, clips * CLIP, group(world)) == PieceLimit(tokens, CLIP)


@pytest.mark.parametrize("world", [1, 99])
def test_only_a_model_that_cannot_hold_a_single_clip_is_refused(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    free = NEED.state + int(0.99 * CLIP * NEED.token)
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    words = r"needs at least .* single clip .* are free: .*spec\.model\.overrides"
    with pytest.raises(BadConfiguration, match=words) as refused:
        require_memory(CONFIG, 8 * CLIP, group(world))
    assert in_gib(free) in str(refused.value)


def test_where_nothing_tells_what_is_free_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    require_memory(CONFIG, 1 << 60, group())


def test_a_model_of_a_trillion_parameters_is_refused_before_its_weights_are_made() -> None:
    run = {"namespace": "default", "name": "trial", "uid": "u", "run": 1, "attempt": 1, "checkpointEvery": 10}
    overrides = {"width": 16384, "depth": 256, "heads": 64}
    config = RunConfig.model_validate(
        {
            **run,
            "model": {"preset": "tiny", "overrides": overrides},
            "data": {"world": {"seed": 7}},
            "optimization": {"steps": 20},
        }
    )
    with pytest.raises(
        BadConfiguration, match=r"model of 1,\d{3},\d{3},\d{3},\d{3} parameters.*spec\.model\.overrides"
    ):
        TrainState.build(config, group())

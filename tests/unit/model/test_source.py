"""A training takes its clips from any source: nothing in it asks for a world."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import pytest
import torch

from kinema_model.conditions.tasks import TRAINED_BY, Task
from kinema_model.config import ModelConfig, StreamingConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.packing.planning import StreamState
from kinema_model.packing.steps import Steps
from kinema_model.source import Captions, Clip, Source
from kinema_model.text.encoder import TextEncoder
from kinema_model.text.reading import vocabulary
from kinema_model.training.objective import TrainingObjective
from kinema_model.validation import Validation
from kinema_world import ShapeMix, World, WorldConfig
from kinema_world.scene import ClipShape
from kinema_world.source import WorldSource

TASKS = {task: 1.0 for task in Task if task not in TRAINED_BY}
SAID = Captions("a cat jumps", "A grey cat jumps off a wall. Then it sleeps.", ("a cat jumps", "a cat sleeps"))


class Recorded:
    """Two recorded clips of two shots each, which come again and again."""

    digest = "sha256:5"

    def __init__(self) -> None:
        pixels = torch.Generator().manual_seed(1)
        self.kept = [torch.randint(0, 256, (n, 16, 24, 3), generator=pixels, dtype=torch.uint8) for n in (4, 8)]

    def shape(self, index: int) -> ClipShape:
        frames, height, width, _ = self.kept[index % len(self.kept)].shape
        return ClipShape(frames, height, width, 8)

    def largest_shapes(self) -> Sequence[ClipShape]:
        return [self.shape(1)]

    def clips(self, indices: Sequence[int]) -> Sequence[Clip]:
        return [Clip(self.kept[index % len(self.kept)], 8, SAID, (0, 2)) for index in indices]

    def validation(self, count: int) -> Sequence[Clip]:
        return self.clips(range(count))

    def texts(self) -> Sequence[str]:
        return [SAID.short, SAID.rich, *SAID.shots]

    def files(self) -> Mapping[str, str]:
        return {}


@pytest.fixture
def config() -> ModelConfig:
    streaming = StreamingConfig(chunk_frames=2, window_chunks=2)
    shape = {"frames": 8, "height": 16, "width_px": 24, "places": "space", "streaming": streaming}
    return ModelConfig.from_preset("tiny", width=32, depth=1, heads=2, **shape)


def test_recorded_clips_are_trained_on_as_a_world_is(config: ModelConfig, encoder: TextEncoder) -> None:
    source: Source = Recorded()
    model = VideoDenoiser(config)
    objective = TrainingObjective(config, encoder, source, 1, tasks=TASKS, rich_captions=0.5)
    (step,) = Steps(source, config, 300).walk(0, 1, StreamState())
    assert step.samples == (0, 1, 2, 3, 4, 5, 6, 7)
    objective.loss(model, step.samples, step.number).mean.backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    assert Validation(config, encoder, source).loss(model, dict(model.named_parameters())) > 0
    assert {"cat", "sleeps", "wall"} <= set(vocabulary(source.texts()))


def test_a_world_s_digest_tells_its_clips() -> None:
    one, again, other = (
        WorldSource(World(WorldConfig(seed=seed, shapes=ShapeMix(frames=(16,))))) for seed in (1, 1, 2)
    )
    assert one.digest == again.digest != other.digest
    assert one.digest == "sha256:" + sha256(one.world.config.model_dump_json().encode()).hexdigest()
    pairs = zip(one.clips([3, 5]), again.clips([3, 5]), strict=True)
    assert all(torch.equal(a.video, b.video) for a, b in pairs)


def test_validation_clips_are_those_of_no_training() -> None:
    one, other = (WorldSource(World.fixed(seed, 4, 16, 16, 8)) for seed in (1, 2))
    shown = [clip.video for clip in one.validation(3)]
    assert all(torch.equal(*pair) for pair in zip(shown, [clip.video for clip in other.validation(3)], strict=True))
    assert not any(torch.equal(a, b.video) for a in shown for b in (*one.clips(range(3)), *other.clips(range(3))))

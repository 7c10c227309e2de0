import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_model.codec.latents import token_times
from kinema_model.config import ModelConfig
from kinema_model.errors import ShapeError
from kinema_model.network.pack import Part, Sample, pack_samples, patchify, unpack, unpatchify
from unit.model.clips import clip, mixed_samples

PATCH = (1, 4, 4)
sides = st.integers(1, 3)


def test_patches_are_blocks_of_pixels_in_raster_order() -> None:
    x = torch.arange(3 * 4 * 4 * 6).view(3, 4, 4, 6)
    tokens = patchify(x, (2, 2, 3))
    assert tokens.shape == (2 * 2 * 2, 36)
    assert torch.equal(tokens[4 + 3], x[:, 2:4, 2:4, 3:6].flatten())
    assert torch.equal(unpatchify(tokens, (2, 2, 2), (2, 2, 3)), x)


@settings(max_examples=examples(30), deadline=None)
@given(boxes=st.lists(st.tuples(sides, sides, sides), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_what_is_packed_comes_out_again(boxes: list[tuple[int, int, int]], seed: int) -> None:
    sizes = [(t, 4 * h, 4 * w) for t, h, w in boxes]
    samples = mixed_samples(sizes, [1] * len(sizes), seed)
    pack = pack_samples(samples, PATCH)
    assert pack.clips.lengths == tuple(t * h * w for t, h, w in boxes)
    assert pack.clips.offsets[-1] == len(pack.tokens)
    for sample, parts in zip(samples, unpack(pack.tokens, pack, PATCH), strict=True):
        assert torch.equal(parts[0], sample.parts[0].latents)
    levels = torch.cat([sample.parts[0].levels.flatten() for sample in samples])
    assert torch.equal(pack.token_levels, levels)
    assert len(pack.levels) == len(levels.unique())


def test_places_are_seconds_rows_and_columns() -> None:
    config = ModelConfig.from_preset("tiny")
    times = token_times(config, 6, fps=24.0)
    assert times.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])
    part = Part(torch.randn(3, 6, 8, 12), torch.ones(6, 2, 3), times)
    pack = pack_samples([Sample((part,), torch.randn(1, 16))], PATCH)
    assert pack.places[7].tolist() == pytest.approx([1 / 3, 0, 1])
    assert pack.scaled_places[0].tolist() == pytest.approx([-5 / 6, -1 / 2, -2 / 3])
    assert pack.scaled_places[-1].tolist() == pytest.approx([5 / 6, 1 / 2, 2 / 3])


def test_what_is_given_beside_a_clip_stands_where_its_time_says() -> None:
    ahead = Part(torch.randn(3, 1, 8, 8), torch.zeros(1, 2, 2), torch.tensor([8.0]))
    pack = pack_samples([Sample((clip((4, 8, 8), 1.0), ahead), torch.randn(2, 16))], PATCH)
    assert pack.boxes == (((4, 2, 2), (1, 2, 2)),)
    assert pack.clips.lengths == (20,)
    assert pack.places[16:, 0].tolist() == [8.0] * 4
    assert pack.scaled_places[16, 0] == pytest.approx(2 * 8.5 / 4 - 1)
    assert pack.token_levels.tolist() == [1.0] * 16 + [0.0] * 4


def test_parts_that_do_not_fit_are_refused() -> None:
    good = clip((2, 8, 8))
    with pytest.raises(ShapeError, match="multiples"):
        pack_samples([Sample((Part(torch.randn(3, 2, 9, 8), good.levels, good.times),), torch.randn(1, 16))], PATCH)
    with pytest.raises(ShapeError, match="one level per patch"):
        pack_samples([Sample((Part(good.latents, good.levels[:1], good.times),), torch.randn(1, 16))], PATCH)
    with pytest.raises(ShapeError, match="one time"):
        pack_samples([Sample((Part(good.latents, good.levels, good.times[:1]),), torch.randn(1, 16))], PATCH)
    with pytest.raises(ShapeError, match="Give samples"):
        pack_samples([], PATCH)
    with pytest.raises(ShapeError, match="image states"):
        pack_samples(
            [Sample((good,), torch.randn(1, 16), torch.randn(2, 8)), Sample((good,), torch.randn(1, 16))], PATCH
        )

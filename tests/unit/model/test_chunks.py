"""Who sees whom in clips that are made chunk by chunk, from the rule as it is said."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from examples import examples
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.errors import ShapeError
from kinema_model.network.attention import attend
from kinema_model.network.chunks import Chunks, attention_pattern
from kinema_model.network.pack import Cut, Part, Sample, pack_samples
from unit.model.clips import clip, mixed_samples, small_network

Build = Callable[..., VideoDenoiser]
PATCH = (1, 4, 4)
ROWS = (2, 1, 2, 2)


def _sample(rows: tuple[int, ...] = ROWS, window: int = 1, references: int = 1, **fields: object) -> Sample:
    torch.manual_seed(3)
    first = clip((sum(rows), 8, 4), torch.rand(sum(rows)).clamp(min=0.1))
    beside = clip((1, 8, 4), 0.0)
    beside = Part(beside.latents, beside.levels, beside.times - 1)
    parts = (first, *[beside] * references)
    return replace(Sample(parts, torch.randn(3, 16), chunks=Chunks(rows, window)), **fields)  # type: ignore[arg-type]


def _told(chunks: Chunks | None, boxes: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(part, chunk) of each token of a sample; all of one sample without chunks is one."""
    if chunks is None:
        return [(0, 0)] * sum(t * h * w for t, h, w in boxes)
    _, height, width = boxes[0]
    own = [(0, number) for number, rows in enumerate(chunks.rows) for _ in range(rows * height * width)]
    return own + [(part, 0) for part, (t, h, w) in enumerate(boxes[1:], start=1) for _ in range(t * h * w)]


def _visible(query: tuple[int, int], key: tuple[int, int], window: int) -> bool:
    (part, chunk), (other, earlier) = query, key
    if part:
        return other == part
    return chunk > 0 if other else chunk - window <= earlier <= chunk


chunked = st.builds(
    lambda rows, window: Chunks(tuple(rows), window),
    st.lists(st.integers(1, 3), min_size=1, max_size=5),
    st.integers(0, 3),
)


@settings(max_examples=examples(40), deadline=None)
@given(
    clips=st.lists(st.tuples(st.none() | chunked, st.integers(0, 2)), min_size=1, max_size=4), seed=st.integers(0, 99)
)
def test_chunked_is_full_attention_under_a_mask(clips: list[tuple[Chunks | None, int]], seed: int) -> None:
    boxes = [
        [(sum(chunks.rows) if chunks else 2, 1, 2), *[(1 + number, 1, 2) for number in range(references)]]
        for chunks, references in clips
    ]
    told = [
        (number, *each)
        for number, ((chunks, _), mine) in enumerate(zip(clips, boxes, strict=True))
        for each in _told(chunks, mine)
    ]
    torch.manual_seed(seed)
    q, k, v = (torch.randn(len(told), 2, 6) for _ in range(3))
    pattern = attention_pattern([chunks for chunks, _ in clips], boxes, torch.zeros(len(told), 3))
    keys, values = (x if pattern.taken is None else x[pattern.taken] for x in (k, v))
    windows = [chunks.window if chunks else 0 for chunks, _ in clips]
    mask = torch.tensor([[a[0] == b[0] and _visible(a[1:], b[1:], windows[a[0]]) for b in told] for a in told])
    scores = torch.einsum("nhd,mhd->hnm", q, k) / 6**0.5
    expected = torch.einsum("hnm,mhd->nhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)
    assert torch.allclose(attend(q, keys, values, pattern), expected, atol=1e-5)
    if pattern.spans is not None:
        segment = torch.arange(len(pattern.queries.lengths)).repeat_interleave(torch.tensor(pattern.queries.lengths))
        spanned = (pattern.spans[:, 0] <= segment[:, None]) & (segment[:, None] <= pattern.spans[:, 1])
        by_token = torch.zeros(len(told), len(told), dtype=torch.int64)
        by_token.index_add_(1, torch.arange(len(told)) if pattern.taken is None else pattern.taken, spanned.long())
        assert torch.equal(by_token, mask.long())


def test_a_reference_stands_right_before_the_window_of_whoever_looks() -> None:
    pack = pack_samples([_sample((2, 1, 2, 2), window=1)], PATCH)
    assert pack.pattern.places is not None
    copies = pack.pattern.places[len(pack.tokens) :]
    # Chunks 1, 2 and 3 begin their windows at chunks 0, 1 and 2, which begin at rows 0, 2 and 3.
    assert [time.unique().tolist() for time in copies[:, 0].split(2)] == [[-1.0], [1.0], [2.0]]
    assert torch.equal(copies[:, 1:], pack.places[-2:, 1:].repeat(3, 1))


def _velocity(model: VideoDenoiser, samples: list[Sample]) -> list[Tensor]:
    pack = pack_samples(samples, PATCH)
    with torch.no_grad():
        return list(model(pack).split(pack.clips.lengths))


@pytest.fixture
def model(small_config: ModelConfig, awake: Build) -> VideoDenoiser:
    return awake(small_config.model_copy(update={"prediction": "velocity"}))


@pytest.mark.parametrize("changed", range(4))
def test_a_later_chunk_changes_no_earlier_one(model: VideoDenoiser, changed: int) -> None:
    sample = _sample(window=3)
    begin = sum(ROWS[:changed])
    latents = sample.parts[0].latents.clone()
    latents[:, begin : begin + ROWS[changed]] += 1
    other = replace(sample, parts=(replace(sample.parts[0], latents=latents), *sample.parts[1:]))
    (before,), (after,) = _velocity(model, [sample]), _velocity(model, [other])
    tokens = [rows * 2 for rows in ROWS]
    same = [
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(before[:14].split(tokens), after[:14].split(tokens), strict=True)
    ]
    assert same == [number < changed for number in range(4)]


def test_one_layer_sees_nothing_beyond_the_window(awake: Build, small_config: ModelConfig) -> None:
    model = awake(small_config.model_copy(update={"network": small_network(num_layers=1)}))
    sample = _sample(references=0)
    latents = sample.parts[0].latents.clone()
    latents[:, : ROWS[0]] += 1
    other = replace(sample, parts=(replace(sample.parts[0], latents=latents),))
    (before,), (after,) = _velocity(model, [sample]), _velocity(model, [other])
    rows = [torch.allclose(a, b, atol=1e-6) for a, b in zip(before.split(2), after.split(2), strict=True)]
    assert rows == [False] * 3 + [True] * 4  # the window reaches one chunk back


def test_only_later_chunks_see_a_reference_and_it_sees_none(model: VideoDenoiser) -> None:
    sample = _sample()
    beside = replace(sample.parts[1], latents=sample.parts[1].latents + 1)
    (before,), (after,) = (
        _velocity(model, [sample]),
        _velocity(model, [replace(sample, parts=(sample.parts[0], beside))]),
    )
    same = [torch.allclose(a, b, atol=1e-6) for a, b in zip(before.split(2), after.split(2), strict=True)]
    assert same == [True] * 2 + [False] * 6
    moved = replace(sample.parts[0], latents=sample.parts[0].latents + 1)
    (after,) = _velocity(model, [replace(sample, parts=(moved, sample.parts[1]))])
    assert torch.allclose(before[-2:], after[-2:], atol=1e-6)


def test_chunked_clips_share_a_pack_with_others(model: VideoDenoiser) -> None:
    samples = [_sample(), *mixed_samples([(3, 8, 12), (1, 16, 4)], [5, 1]), _sample((3, 1), 2, 0)]
    for together, alone in zip(_velocity(model, samples), samples, strict=True):
        assert torch.allclose(together, _velocity(model, [alone])[0], atol=1e-5)


def test_a_single_chunk_is_a_whole_clip_exactly(model: VideoDenoiser) -> None:
    whole = replace(_sample(references=0), chunks=None)
    chunked = replace(whole, chunks=Chunks((sum(ROWS),), 1))
    assert torch.equal(_velocity(model, [whole])[0], _velocity(model, [chunked])[0])


def test_a_text_reaches_its_own_rows(model: VideoDenoiser) -> None:
    sample = replace(_sample(references=1), chunks=Chunks(ROWS, 0), cuts=(Cut(3, torch.randn(2, 16)),))
    (before,) = _velocity(model, [sample])
    other = replace(sample, cuts=(Cut(3, torch.randn(4, 16)),))
    same = [
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(before.split(2), _velocity(model, [other])[0].split(2), strict=True)
    ]
    assert same == [True] * 3 + [False] * 4 + [True]


def test_a_cut_to_the_same_text_is_no_cut(model: VideoDenoiser) -> None:
    sample = _sample()
    for text in (sample.text, sample.text[:0]):
        plain = replace(sample, text=text)
        assert torch.allclose(
            _velocity(model, [plain])[0], _velocity(model, [replace(plain, cuts=(Cut(2, text),))])[0], atol=1e-6
        )


def test_gradients_reach_every_weight_and_every_visible_token(model: VideoDenoiser) -> None:
    pack = pack_samples([_sample()], PATCH)
    tokens = pack.tokens.clone().requires_grad_()
    out = model(replace(pack, tokens=tokens))
    out[10:14].square().sum().backward()  # the last chunk
    assert tokens.grad is not None
    reached = [bool(rows.any()) for rows in tokens.grad.split([4, 2, 4, 4, 2])]
    assert reached == [False, True, True, True, True]  # two layers of windows of one, and the reference
    silent = [
        name for name, p in model.named_parameters() if (p.grad is None or not p.grad.any()) and "null" not in name
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"chunks": Chunks((2, 2), 1)}, "rows that sum up"),
        ({"chunks": Chunks((7, 0), 1)}, "rows that sum up"),
        ({"cuts": (Cut(7, torch.zeros(1, 16)),)}, "rising rows inside it"),
        ({"cuts": (Cut(3, torch.zeros(1, 16)), Cut(3, torch.zeros(1, 16)))}, "rising rows inside it"),
    ],
)
def test_chunks_and_cuts_that_do_not_fit_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        pack_samples([_sample(**fields)], PATCH)


def test_all_tensors_of_a_pack_move_together() -> None:
    parts = (clip((4, 8, 8)), clip((1, 8, 8)))
    chunked = Sample(parts, torch.randn(3, 16), torch.randn(2, 8), chunks=Chunks((2, 2), 1, 1))
    pack = pack_samples([chunked], (1, 4, 4))
    held: list[str] = []
    moved = pack.to("meta")
    for holder in (moved, moved.pattern, moved.pattern.queries, moved.clips, moved.runs, moved.texts, moved.images):
        for name, value in vars(holder).items():
            if isinstance(value, Tensor):
                held.append(name)
                assert value.device.type == "meta", name
    assert {"tokens", "context", "rows", "spans", "offsets", "image"} <= set(held)
    assert pack.tokens.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU copies from pinned memory")
def test_a_pinned_pack_arrives_whole_on_a_gpu() -> None:
    pack = pack_samples(mixed_samples([(2, 8, 8), (1, 4, 8)], [3, 2]), (1, 4, 4))
    arrived = pack.pinned().to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    assert torch.equal(arrived.tokens.cpu(), pack.tokens)
    assert torch.equal(arrived.clips.offsets.cpu(), pack.clips.offsets)

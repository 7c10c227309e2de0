"""What the model could make nothing of is told with the clip, by its server and in its card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinema_world import WorldConfig

pytestmark = pytest.mark.slow


Order = Callable[..., dict[str, Any]]
LONG = "a red square moves right " * 60


@pytest.fixture
def model_folder(model_folder: Path) -> Path:
    """A model that tells which world it was trained on, as published ones do."""
    from unit.jobs.serve.conftest import write_manifest

    world = WorldConfig.model_validate({"seed": 1, "kinds": {"simple": 1.0}})
    (model_folder / "world.json").write_text(world.model_dump_json())
    write_manifest(model_folder)
    return model_folder


@pytest.mark.parametrize(
    ("prompt", "unseen", "cut"),
    [
        ("a red square moves right", [], False),
        ("a golden retriever runs through the snow", ["golden", "retriever", "runs", "through", "snow"], False),
        ("一只金毛犬在雪地里奔跑", ["一只金毛犬在雪地里奔跑"], False),
        (LONG, [], True),
    ],
    ids=["known", "dog", "chinese", "long"],
)
async def test_words_that_were_never_seen_and_what_was_cut_are_told(
    server: Any, make_order: Order, prompt: str, unseen: list[str], cut: bool
) -> None:
    _, taken = await server.submit(make_order(prompt=prompt))
    assert taken["phase"] == "loading"
    state = await server.ended("uid-1")
    assert state.phase == "succeeded", state
    heard = state.result.to_wire().get("prompt", {})
    assert heard.get("unseenWords", []) == unseen
    assert heard.get("limit") == 128
    assert bool(heard.get("cut")) is cut
    if cut:
        assert LONG.strip().endswith(heard["cut"])
        assert heard["tokens"] == 128

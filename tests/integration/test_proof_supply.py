"""Batches that processes make ahead are those that are made on demand, from wherever the planner stood."""

from __future__ import annotations

import pytest
import torch

from kinema_model.errors import ConfigError
from kinema_model.packing.planning import StreamState
from proof.settings import Settings
from proof.supply import Ahead, Inline, supply_of

SETTINGS = Settings.from_environment({"PROOF_PRESET": "tiny", "PROOF_TOKENS": "1024"})


def test_processes_make_the_batches_of_one() -> None:
    begin = Inline(SETTINGS, 0, StreamState())
    state = begin.take().following
    inline, ahead = Inline(SETTINGS, 1, state), Ahead(SETTINGS, 1, state, workers=2, depth=3)
    try:
        for _ in range(5):
            one, other = inline.take(), ahead.take()
            assert one.following == other.following
            assert torch.equal(one.clean.tokens, other.clean.tokens)
            assert torch.equal(one.clean.text, other.clean.text)
            assert torch.equal(one.clean.token_levels, other.clean.token_levels)
            assert torch.equal(one.noise, other.noise)
    finally:
        ahead.close()


def test_a_number_of_processes_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOF_WORKERS", "-1")
    with pytest.raises(ConfigError, match="Give 0 or the number"):
        supply_of(SETTINGS, 0, StreamState())

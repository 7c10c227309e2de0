"""Where a finished run leaves its model: where no trainer of another round ever writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from stage.trainers import Trainers, tiny_training

pytestmark = pytest.mark.timeout(600)


def test_a_model_lies_below_the_round_that_made_it(tmp_path: Path) -> None:
    group = Trainers(tmp_path, tiny_training(3, nodes=1), KINEMA_RENDEZVOUS_LOST_SECONDS="2")
    try:
        group.start_service()
        group.start(0)
        assert group.exit_code(0) == 0
        prefix = f"{group.config.prefix}export/"
        names = [found.key.removeprefix(prefix) for found in group.store.list(prefix)]
        round_ = group.progress(0).round
    finally:
        group.close()
    assert names
    assert {name.rpartition("/")[0] for name in names} == {f"round-{round_:04d}"}, "a woken trainer would overwrite it"

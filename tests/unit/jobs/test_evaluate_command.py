"""The arguments of the evaluation: what is refused before any model is opened, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema_api import evaluation
from kinema_evaluation import EvaluationPlan
from kinema_jobs.evaluate import __main__ as evaluate


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--seconds", "5"], "from 10 to 600"),
        (["--beside", "4x"], "LABEL=FOLDER"),
        (["--beside", "=folder"], "LABEL=FOLDER"),
        (["--beside", "4x=one", "--beside", "4x=two"], "Give each its own"),
        (["--beside", "4x=one", "--section", "captions"], "Add --section ablations"),
    ],
)
def test_what_makes_no_sense_is_refused(
    given: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["evaluate", "--model", str(tmp_path), *given])
    with pytest.raises(SystemExit) as exit_:
        evaluate.main()
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err


def test_a_model_beside_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["evaluate", "--model", str(tmp_path), "--beside", f"4x={tmp_path / 'none'}"])
    assert evaluate.main() == 1
    assert str(tmp_path) in capsys.readouterr().out


def test_the_commands_have_the_bounds_of_the_evaluation() -> None:
    fields = EvaluationPlan.model_json_schema()["properties"]
    assert fields["clips"]["minimum"] == evaluation.MIN_CLIPS
    assert fields["clips"]["default"] == evaluation.DEFAULT_COMMAND_CLIPS
    assert fields["seed"]["exclusiveMaximum"] == evaluation.MAX_SEED + 1
    assert fields["seconds"]["minimum"] == evaluation.MIN_STREAM_SECONDS
    assert fields["seconds"]["maximum"] == evaluation.MAX_STREAM_SECONDS
    assert fields["seconds"]["default"] == evaluation.DEFAULT_STREAM_SECONDS

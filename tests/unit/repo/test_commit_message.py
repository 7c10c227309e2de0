"""The commit-msg hook, as git calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = REPOSITORY / ".githooks" / "commit_message.py"


def judged(message: str, folder: Path) -> tuple[int, str]:
    file = folder / "COMMIT_EDITMSG"
    file.write_text(message)
    done = subprocess.run([sys.executable, str(SCRIPT), str(file)], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "message",
    [
        "Refuse names that no Secret can have\n",
        "Bring the cluster up twice\n\nThe second call found its own lock.\n",
        "Pass the CA to servers\n",
        "Embed prompts once\n",
        "Add " + "x" * 68,
        "Add a verb\n\n# Please enter the commit message\n# ------------------------ >8 ---\ndiff --git a/x b/x\n",
        "Merge branch 'main' into a branch whose name makes the subject longer than any that a person may write\n",
        "fixup! Add a verb\n",
    ],
)
def test_a_message_in_form_is_taken(message: str, tmp_path: Path) -> None:
    assert judged(message, tmp_path) == (0, "")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", "empty"),
        ("# only comments\n", "empty"),
        ("Add " + "x" * 69, "73 characters; at most 72"),
        ("add a verb", "capital letter"),
        ("docs: a page", "capital letter"),
        ("Added a verb", "as an order"),
        ("Adding a verb", "as an order"),
        ("Adds a verb", "as an order"),
        ("Add a verb.", "full stop"),
        ("Add a verb\nbecause", "empty line"),
    ],
)
def test_any_other_is_refused_with_what_to_do(message: str, words: str, tmp_path: Path) -> None:
    code, said = judged(message, tmp_path)
    assert code == 1
    assert words in said


def test_pre_commit_installs_and_calls_it() -> None:
    settings = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    assert settings["default_install_hook_types"] == ["pre-commit", "commit-msg"]
    assert settings["default_stages"] == ["pre-commit"]
    (hook,) = [hook for hook in settings["repos"][0]["hooks"] if hook.get("stages") == ["commit-msg"]]
    assert (REPOSITORY / hook["entry"].split()[-1]) == SCRIPT

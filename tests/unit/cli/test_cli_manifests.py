"""Files are refused before a cluster is asked, with the field and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from kinema_cli.main import main

SAMPLE = Path(__file__).parents[3] / "manifests/samples/training.yaml"
NOWHERE = ["--kubeconfig", "/nonexistent/kubeconfig"]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def changed(tmp_path: Path, path: str, value: Any) -> str:
    """The sample with one field changed, as a file."""
    body = yaml.safe_load(SAMPLE.read_text())
    inner = body
    *parents, last = path.split(".")
    for key in parents:
        inner = inner.setdefault(key, {})
    inner[last] = value
    file = tmp_path / "training.yaml"
    file.write_text(yaml.safe_dump(body))
    return str(file)


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("spec.model.preset", "huge", "preset"),
        ("spec.optimization.steps", 0, "steps"),
        ("spec.nodes", "two", "nodes"),
        ("kind", "Pod", "exactly one VideoModelTraining"),
        ("apiVersion", "kinema.dev/v9", "kinema.dev/v1alpha1"),
        ("metadata.name", "x" * 41, "1 to 40 characters"),
        ("metadata", None, "1 to 40 characters"),
    ],
)
def test_a_bad_manifest_names_its_field(tmp_path: Path, path: str, value: Any, word: str) -> None:
    result = invoke("train", changed(tmp_path, path, value), *NOWHERE)
    assert result.exit_code == 2
    assert word in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"", b"- 1\n", b"a: 1\n---\nb: 2\n"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    result = invoke("train", str(file), *NOWHERE)
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert "Traceback" not in result.output


def test_a_missing_file_is_refused() -> None:
    result = invoke("train", "/nonexistent/file.yaml", *NOWHERE)
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_without_a_cluster_the_exit_code_is_3(tmp_path: Path) -> None:
    result = invoke("train", str(SAMPLE), *NOWHERE)
    assert result.exit_code == 3
    assert "--kubeconfig" in result.stderr


def test_a_cluster_that_does_not_answer_is_3(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "gone", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "gone", "context": {"cluster": "gone", "user": "gone"}}
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [cluster],
                "contexts": [context],
                "current-context": "gone",
                "users": [{"name": "gone", "user": {"token": "x"}}],
            }
        )
    )
    result = invoke("get", "--kubeconfig", str(kubeconfig))
    assert result.exit_code == 3
    assert "does not respond" in result.stderr


def test_an_error_in_json_is_one_document_with_the_exit_code(tmp_path: Path) -> None:
    result = invoke("train", changed(tmp_path, "spec.model.preset", "huge"), "--json", *NOWHERE)
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document["exitCode"] == 2
    assert "preset" in document["error"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "a prompt"],
        ["generate", "a prompt", "--model", "m", "--local", "folder"],
        ["run", str(SAMPLE)],
        ["get", "all", "name"],
        ["get", "pods"],
        ["logs", "name", "--rank", "-1"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--size", "24"], "size"),
        (["--seconds", "0"], "seconds"),
        (["--seconds", "61"], "seconds"),
        (["--steps", "0"], "steps"),
        (["--seed", "-1"], "seed"),
        (["--guidance-scale", "0"], "guidanceScale"),
        (["--negative-prompt", "x" * 4097], "negativePrompt"),
    ],
)
def test_a_generation_that_the_schema_refuses_is_2(options: list[str], word: str) -> None:
    result = invoke("generate", "a red square", "--model", "tiny-world", *options, *NOWHERE)
    assert result.exit_code == 2
    assert word in result.stderr


@pytest.mark.parametrize("prompt", ["", "   ", "x" * 4097])
def test_an_empty_or_too_long_prompt_is_2(prompt: str) -> None:
    result = invoke("generate", prompt, "--model", "tiny-world", *NOWHERE)
    assert result.exit_code == 2
    assert "prompt" in result.stderr
    assert len(result.stderr) < 300


def test_help_names_the_exit_codes() -> None:
    for command in ("train", "generate", "run"):
        result = invoke(command, "--help")
        assert result.exit_code == 0
        assert "4 timed out" in " ".join(result.stdout.split())

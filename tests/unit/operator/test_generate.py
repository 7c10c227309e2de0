"""Generated files: the repository's are current, and drift of any kind is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kinema_operator.manifests.files import REPOSITORY, generated_files, main, to_yaml


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose generated files are current."""
    assert main(["--root", str(tmp_path)]) == 0
    return tmp_path


def test_the_repository_is_current() -> None:
    assert main(["--check", "--root", str(REPOSITORY)]) == 0


def test_what_was_just_written_is_current(root: Path) -> None:
    assert main(["--check", "--root", str(root)]) == 0


@pytest.mark.parametrize("path", sorted(generated_files()))
def test_an_edit_is_drift_and_is_mended(path: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = root / path
    file.write_text(file.read_text() + "\n")
    assert main(["--check", "--root", str(root)]) == 1
    assert f"{path} is out of date" in capsys.readouterr().err
    main(["--root", str(root)])
    assert main(["--check", "--root", str(root)]) == 0


def test_a_file_of_a_kind_that_is_gone_is_drift_and_is_removed(root: Path) -> None:
    leftover = root / "manifests" / "crds" / "videodreams.yaml"
    leftover.write_text("gone")
    assert main(["--check", "--root", str(root)]) == 1
    main(["--root", str(root)])
    assert not leftover.exists()


def test_a_missing_file_is_drift(root: Path) -> None:
    (root / "docs" / "api.md").unlink()
    assert main(["--check", "--root", str(root)]) == 1


def test_yaml_repeats_rather_than_refers() -> None:
    shared = ["a", "b"]
    text = to_yaml({"one": shared, "two": shared})
    assert "&" not in text
    assert yaml.safe_load(text) == {"one": shared, "two": shared}


def test_the_charts_crds_are_those_of_the_manifests_but_kept() -> None:
    files = generated_files()
    for path in (path for path in files if path.startswith("manifests/crds/")):
        template = files[path.replace("manifests/", "charts/kinema/templates/")]
        assert template.startswith("{{- if .Values.crds.install }}\n")
        body = yaml.safe_load(template.split("\n", 1)[1].removesuffix("{{- end }}\n"))
        assert body["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert body == yaml.safe_load(files[path])

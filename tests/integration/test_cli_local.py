"""`--local`: real renderings and evaluations of a real, small model, in processes of their own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from kinema_cli.errors import BadManifest, CommandError
from kinema_cli.jobs import Job
from kinema_cli.main import main
from kinema_dataset.reading import FolderReader
from kinema_dataset.source import DatasetSource
from kinema_jobs.clip.media import write_mp4
from kinema_model.artefact import save_model
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_world import World
from unit.jobs.prepare.material import LENIENT, drawn


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests")
    return folder


def test_a_clip_is_rendered_here(model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips" / "red.mp4"
    arguments = ["generate", "--local", str(model_folder), "--seed", "3", "--steps", "2", "--out", str(out), "--json"]
    result = CliRunner().invoke(main, [*arguments, "--", "-a red square; $(touch x)"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["seed"], report["size"], report["seconds"], report["path"]) == (3, "24x24", 1.0, str(out))
    assert report["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert {p.name for p in out.parent.iterdir()} == {
        "red.mp4",
        "red.thumbnail.webp",
        "red.spritesheet.webp",
        "red.request.json",
    }
    assert json.loads((out.parent / "red.request.json").read_text())["prompt"] == "-a red square; $(touch x)"


def test_a_folder_without_a_model_fails_with_a_remedy(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["generate", "a red square", "--local", str(tmp_path)])
    assert result.exit_code == 1
    assert "train and publish one first" in result.stderr


def test_a_size_that_the_model_cannot_render_is_2(model_folder: Path, tmp_path: Path) -> None:
    arguments = ["generate", "a red square", "--local", str(model_folder), "--size", "26x24"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "x.mp4")])
    assert result.exit_code == 2
    assert "multiples of 8" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_accuracy_is_printed_and_the_report_written(model_folder: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(model_folder), "--clips", "4", "--section", "captions", "--out", str(tmp_path / "r")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert rows["ATTRIBUTE"] == ["ACCURACY", "CHANCE", "PARSER"]
    assert rows["colour"][1:] == ["16.7%", "100.0%"]
    assert set(rows) == {"ATTRIBUTE", "colour", "shape", "direction"}
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert f"{report['attributes']['colour']['accuracy']:.1%}" == rows["colour"][0]
    assert (tmp_path / "r" / "report.html").read_text().startswith("<!doctype html>")
    assert "Measuring captions" in result.stderr


def test_a_section_that_does_not_exist_is_2(model_folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["evaluate", str(model_folder), "--section", "taste", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_ends_without_a_word_names_what_it_needs() -> None:
    with pytest.raises(CommandError, match=r"kinema\[train,serve\]"):
        list(Job("kinema_jobs.no_such_job", []).events())
    with pytest.raises(BadManifest):
        list(Job("kinema_jobs.generate", ["--no-such-option"]).events())


def test_a_clip_is_extended_from_a_file_and_its_prompt_said_at_length(tmp_path: Path) -> None:
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, tasks=(Task.TEXT, Task.EXTEND))
    save_model(tmp_path / "model", dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests")
    clip, out = tmp_path / "first.mp4", tmp_path / "longer.mp4"
    write_mp4(World.fixed(3, 8, 24, 24, 8).sample(1).video, 8, clip)
    arguments = ["generate", "a red square moves right", "--local", str(tmp_path / "model"), "--out", str(out)]
    extended = [*arguments, "--task", "extend", "--input", str(clip), "--input-seconds", "0.25", "--steps", "2"]
    result = CliRunner().invoke(main, [*extended, "--expand-prompt", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [seam["frame"] for seam in report["seams"]] == [2]
    assert len(report["expandedPrompt"]) > len("a red square moves right")
    record = json.loads((tmp_path / "longer.request.json").read_text())
    assert record["inputs"] == {"input": hashlib.sha256(clip.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--task", "fill"], "not trained for 'fill'"),
        (["--shot", "a blue circle"], "--shot is SECONDS:PROMPT"),
        (["--shot", "1:a blue circle"], "was not trained for streaming"),
    ],
)
def test_what_the_model_was_not_trained_for_is_2(model_folder: Path, options: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, ["generate", "a red square", "--local", str(model_folder), *options])
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_folder_of_videos_is_prepared_here(tmp_path: Path) -> None:
    videos, out = tmp_path / "my videos & more", tmp_path / "dataset"
    videos.mkdir()
    drawn(videos / "one.mp4", frames=40)
    (videos / "one.txt").write_text("a pattern that moves")
    (videos / "none.mp4").write_bytes(b"nothing")
    (videos / "none.txt").write_text("nothing")
    arguments = ["prepare", "--local", str(videos), "--out", str(out), "--frames", "16", "--size", "96x64", "--json"]
    lenient = [f"--filter={name}={value}" for name, value in LENIENT.items()]
    first = CliRunner().invoke(main, [*arguments, *lenient])
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["samples"], told["inputs"]) == (3, 1)
    assert told["dropped"] == {"damaged or unknown file": 1}
    assert DatasetSource(FolderReader(Path(told["folder"])), tmp_path / "cache", 0).manifest.digest == told["digest"]
    assert "my videos &amp; more" in Path(told["report"]).read_text()
    again = CliRunner().invoke(main, [*arguments, *lenient])
    assert json.loads(again.stdout)["digest"] == told["digest"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--filter", "minFrames=0"], ["--filter", "minFrames", "greater than or equal to 1"]),
        (["--filter", "sharp=1"], ["--filter", "sharp"]),
        (["--captioner", "ftp://x"], ["--captioner", "http(s)://HOST"]),
        (["--size", "96"], ["--size", "not 2 positive numbers"]),
        (["--frames", "4"], ["minFrames", "at most 4 frames"]),
        ([], ["there is no video below"]),
    ],
)
def test_what_cannot_be_prepared_is_2_and_named(tmp_path: Path, options: list[str], words: list[str]) -> None:
    (tmp_path / "videos").mkdir()
    arguments = ["prepare", "--local", str(tmp_path / "videos"), "--out", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert all(word in result.output for word in words), result.output

"""The evaluator of a model that was trained on recorded clips: from the datasets of its run to the page of a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kinema_api import launch, layout, objectstore
from kinema_api.base import utc_now
from kinema_api.evaluation import Evaluation
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.prepare import RunDataset
from kinema_api.run import EvaluationConfig
from kinema_evaluation.plan import RECORDED
from kinema_jobs.evaluate import __main__ as command
from kinema_jobs.evaluate.exported_model import make_report
from kinema_jobs.model_folder import sha256_of
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.settings import PodSettings
from kinema_model.artefact import save_model
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from unit.jobs.recorded import PREFIX, Recorded, recorded

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(tmp_path: Path) -> Recorded:
    return recorded(tmp_path, inputs=24)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that was never trained, whose clips are as small as those of the dataset."""
    shape = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, frames=4, height=16, width_px=24, fps=8)
    torch.manual_seed(0)
    save_model(tmp_path / "made", dict(VideoDenoiser(shape).named_parameters()), shape, "# A model", {})
    return tmp_path / "made"


@pytest.fixture
def settings(dataset: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PodSettings:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv(objectstore.ENV_ENDPOINT, dataset.location.endpoint)
    monkeypatch.setenv(objectstore.ENV_BUCKET, "kinema")
    monkeypatch.setenv(launch.ENV_TERMINATION_LOG, str(tmp_path / "last-word.json"))
    monkeypatch.setenv("KINEMA_TRAINER_SCRATCH", str(tmp_path / "scratch"))
    return PodSettings.from_environment()


def config_of(model: Path, settings: PodSettings, digest: str) -> EvaluationConfig:
    store = settings.open_store()
    paths = sorted(model.iterdir())
    files = tuple(ManifestFile(name=p.name, sha256=sha256_of(p), bytes=p.stat().st_size) for p in paths)
    manifest = Manifest(
        kind="model", files=files, run=1, attempt=1, round=1, step=1, world_size=1, samples=1, created=utc_now()
    )
    config = EvaluationConfig(
        namespace="team",
        name="trial",
        uid="u",
        run=1,
        attempt=1,
        model_digest=manifest.digest(),
        evaluation=Evaluation.parse({"clips": 4, "sections": ["captions", *RECORDED]}),
        datasets=(RunDataset(prefix=PREFIX, digest=digest, weight=1),),
    )
    for path in paths:
        store.put_file(layout.export_prefix(config.prefix) + path.name, path)
    store.put(layout.export_prefix(config.prefix) + layout.MANIFEST, manifest.to_bytes())
    return config


def test_clips_that_were_held_out_judge_the_model(model: Path, settings: PodSettings, dataset: Recorded) -> None:
    config = config_of(model, settings, dataset.digest)
    result = make_report(config, settings)
    assert result.accuracy == {}
    folder = layout.evaluation_prefix(config.prefix)
    report = json.loads(settings.open_store().get(folder + "report.json"))
    assert report["subject"]["recorded"]
    assert report["subject"]["world"] is None
    loss = report["sections"]["validation"]["rows"][0]
    assert loss["score"]["value"] > 0
    assert set(loss["controls"]) == {"another caption", "clips of the training", "mean and spread alone"}
    assert "synthetic world" in report["absent"]["captions"]
    page = settings.open_store().get(folder + layout.REPORT_PAGE).decode()
    assert "trained on recorded clips" in page
    assert "Validation loss" in page


def test_a_dataset_that_is_another_one_is_refused(model: Path, settings: PodSettings, dataset: Recorded) -> None:
    config = config_of(model, settings, "sha256:" + "0" * 64)
    with pytest.raises(BadConfiguration, match="which was prepared for this run"):
        make_report(config, settings)


def test_the_command_takes_a_dataset_in_a_folder(
    model: Path,
    dataset: Recorded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["--section", "validation", "--clips", "4", "--json"]
    monkeypatch.setattr("sys.argv", ["evaluate", "--model", str(model), "--dataset", str(dataset.folder), *asked])
    assert command.main() == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["sections"]["validation"]["rows"]
    monkeypatch.setattr("sys.argv", ["evaluate", "--model", str(model), "--dataset", str(tmp_path), *asked])
    assert command.main() == 1
    assert "--dataset" in capsys.readouterr().out

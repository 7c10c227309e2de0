"""The evaluator: what it fetches, what it commits and when it does not measure again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import torch

from kinema_api import launch, layout, objectstore
from kinema_api.base import utc_now
from kinema_api.errors import StorageUnreachable
from kinema_api.evaluation import METRICS, Evaluation
from kinema_api.folderstore import FolderStore
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.reports import read_result
from kinema_api.run import EvaluationConfig
from kinema_api.wire import EXIT_CODES, TerminationMessage
from kinema_evaluation import SECTIONS, EvaluationPlan, Report, Row, Score, Section
from kinema_evaluation.plan import SEEN
from kinema_evaluation.report import Subject
from kinema_jobs.evaluate import exported_model as evaluation_report
from kinema_jobs.evaluate import pod as evaluation
from kinema_jobs.evaluate.exported_model import gate_scores, make_report
from kinema_jobs.evaluate.report import HTML_FILE, JSON_FILE, summary
from kinema_jobs.model_folder import sha256_of
from kinema_jobs.train.failures import BadConfiguration, StorageFailure
from kinema_jobs.train.settings import PodSettings
from kinema_model.artefact import save_model
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.errors import ConfigError
from kinema_world import World
from kinema_world.stored import world_files

FIELDS: Final = {"namespace": "team", "name": "trial", "uid": "u", "run": 1, "attempt": 2}
WORLD: Final = World.fixed(7, 6, 16, 24, 8).config


def row(name: str, value: float, group: str = SEEN) -> Row:
    return Row(name=name, group=group, meaning="what", score=Score(value=value, low=value - 0.25, clips=4))


def report(plan: EvaluationPlan) -> Report:
    rows = (row("colour", 0.75), row("everything", 0.5), row("colour", 0.25, "held-out speeds"), row("binding", 1.0))
    subject = Subject(
        preset="tiny", tasks=("text",), frames=6, height=16, width=24, fps=8, world=WORLD, world_known=True
    )
    return Report(
        subject=subject,
        clips=plan.clips,
        seed=plan.seed,
        steps=plan.steps,
        guidance_scale=plan.guidance_scale,
        sections={"captions": Section(title="Captions", question="?", rows=rows)},
        absent={},
    )


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[EvaluationPlan]:
    """How each evaluation was asked for; none of them takes time."""
    asked: list[EvaluationPlan] = []

    def evaluate(pipeline: Any, plan: EvaluationPlan, on_progress: Any, **_: Any) -> Report:
        asked.append(plan)
        on_progress("captions", plan.clips, plan.clips)
        return report(plan)

    monkeypatch.setattr(evaluation_report, "evaluate", evaluate)
    return asked


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PodSettings:
    (tmp_path / "store/kinema").mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv(objectstore.ENV_ENDPOINT, f"file://{tmp_path}/store")
    monkeypatch.setenv(objectstore.ENV_BUCKET, "kinema")
    monkeypatch.setenv(launch.ENV_TERMINATION_LOG, str(tmp_path / "last-word.json"))
    monkeypatch.setenv("KINEMA_TRAINER_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("KINEMA_TRAINER_STORAGE_PATIENCE_SECONDS", "0.1")
    return PodSettings.from_environment()


@pytest.fixture
def store(settings: PodSettings) -> ObjectStore:
    return open_store(StoreLocation(endpoint=settings.store_endpoint, bucket="kinema"), None)


@pytest.fixture
def config(store: ObjectStore, tmp_path: Path) -> EvaluationConfig:
    """The evaluation of a model that was never trained, whose export is committed."""
    shape = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2)
    torch.manual_seed(0)
    save_model(tmp_path / "made", dict(VideoDenoiser(shape).named_parameters()), shape, "# A model", world_files(WORLD))
    made = sorted((tmp_path / "made").iterdir())
    files = tuple(ManifestFile(name=p.name, sha256=sha256_of(p), bytes=p.stat().st_size) for p in made)
    manifest = Manifest(
        kind="model", files=files, run=1, attempt=2, round=3, step=9, world_size=2, samples=27, created=utc_now()
    )
    wanted = Evaluation.parse({"clips": 4, "seed": 5, "sections": ["captions", "motion"]})
    config = EvaluationConfig(**FIELDS, model_digest=manifest.digest(), evaluation=wanted)
    for path in made:
        store.put_file(layout.export_prefix(config.prefix) + path.name, path)
    store.put(layout.export_prefix(config.prefix) + layout.MANIFEST, manifest.to_bytes())
    return config


def committed(store: ObjectStore, config: EvaluationConfig) -> Manifest:
    key = layout.evaluation_prefix(config.prefix) + layout.MANIFEST
    return Manifest.from_bytes(store.get(key), key)


def test_the_report_is_committed_whole(
    config: EvaluationConfig, settings: PodSettings, store: ObjectStore, plans: list[EvaluationPlan]
) -> None:
    result = make_report(config, settings)
    assert result.accuracy == {"colour": 0.75, "everything": 0.5}
    assert result.lower_bounds == {"colour": 0.5, "everything": 0.25}
    (plan,) = plans
    assert (plan.clips, plan.seed, plan.sections, plan.world) == (4, 5, ("captions", "motion"), WORLD)
    manifest, prefix = committed(store, config), layout.evaluation_prefix(config.prefix)
    assert (manifest.kind, manifest.step, manifest.round, manifest.samples) == ("evaluation", 9, 3, 27)
    assert {file.name for file in manifest.files} == {JSON_FILE, HTML_FILE, layout.EVALUATION_RESULT}
    assert layout.REPORT_PAGE == HTML_FILE
    for file in manifest.files:
        assert store.sha256(prefix + file.name) == (file.sha256, file.bytes)
    assert read_result(store, prefix) == result
    assert json.loads(store.get(prefix + JSON_FILE))["digest"] == config.model_digest
    assert not list(settings.scratch.iterdir())


def test_what_is_committed_is_not_measured_again(
    config: EvaluationConfig, settings: PodSettings, plans: list[EvaluationPlan]
) -> None:
    assert make_report(config, settings) == make_report(config, settings)
    assert len(plans) == 1


@pytest.mark.parametrize("torn", [layout.EVALUATION_RESULT, layout.MANIFEST])
def test_what_is_torn_is_measured_again(
    config: EvaluationConfig, settings: PodSettings, store: ObjectStore, plans: list[EvaluationPlan], torn: str
) -> None:
    make_report(config, settings)
    prefix = layout.evaluation_prefix(config.prefix)
    store.put(prefix + torn, b'{"modelDigest": ')
    assert read_result(store, prefix) is None
    make_report(config, settings)
    assert len(plans) == 2
    assert read_result(store, prefix) is not None


def whole(store: ObjectStore, config: EvaluationConfig) -> bool:
    """Whether each file is what the committed manifest says."""
    prefix = layout.evaluation_prefix(config.prefix)
    return all(store.sha256(prefix + f.name) == (f.sha256, f.bytes) for f in committed(store, config).files)


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Has something done right before the n-th conditional write of whoever writes next, as if it had slept there."""

    def before(number: int, do: Callable[[], object]) -> None:
        put_if, left = FolderStore.put_if, itertools.count(1)

        def put(store: FolderStore, *arguments: Any) -> str:
            if next(left) == number:
                monkeypatch.setattr(FolderStore, "put_if", put_if)
                do()
            return put_if(store, *arguments)

        monkeypatch.setattr(FolderStore, "put_if", put)

    return before


def test_the_report_of_another_evaluator_that_was_quicker_is_taken_over(
    config: EvaluationConfig, settings: PodSettings, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quicker(pipeline: Any, plan: EvaluationPlan, on_progress: Any, **_: Any) -> Report:
        return report(plan)

    def slower(pipeline: Any, plan: EvaluationPlan, on_progress: Any, **_: Any) -> Report:
        monkeypatch.setattr(evaluation_report, "evaluate", quicker)
        make_report(config, settings)
        return report(plan).model_copy(update={"sections": {}})

    monkeypatch.setattr(evaluation_report, "evaluate", slower)
    result = make_report(config, settings)
    assert result.accuracy == {"colour": 0.75, "everything": 0.5}
    assert result == read_result(store, layout.evaluation_prefix(config.prefix))
    assert whole(store, config)


@pytest.mark.parametrize("write", [1, 2])
def test_an_evaluator_that_slept_writes_nothing_over_a_committed_report(
    config: EvaluationConfig,
    settings: PodSettings,
    store: ObjectStore,
    plans: list[EvaluationPlan],
    asleep: Callable[[int, Callable[[], object]], None],
    write: int,
) -> None:
    """Its node was given up, and another evaluator measured the model meanwhile."""
    asleep(write, lambda: make_report(config, settings))
    assert make_report(config, settings) == read_result(store, layout.evaluation_prefix(config.prefix))
    assert len(plans) == 2
    assert whole(store, config)


def test_an_evaluator_that_finds_another_one_writing_says_what_comes_next(
    config: EvaluationConfig,
    settings: PodSettings,
    store: ObjectStore,
    plans: list[EvaluationPlan],
    asleep: Callable[[int, Callable[[], object]], None],
) -> None:
    prefix = layout.evaluation_prefix(config.prefix)
    asleep(2, lambda: store.put(prefix + HTML_FILE, b"of another evaluator"))
    with pytest.raises(StorageFailure, match=r"another evaluator writes to .*: the next pod of this evaluation"):
        make_report(config, settings)
    assert read_result(store, prefix) is None
    assert store.get(prefix + HTML_FILE) == b"of another evaluator"
    make_report(config, settings)
    assert whole(store, config)


def test_the_manifest_of_a_report_on_another_model_is_not_written_over(
    config: EvaluationConfig,
    settings: PodSettings,
    store: ObjectStore,
    plans: list[EvaluationPlan],
    asleep: Callable[[int, Callable[[], object]], None],
) -> None:
    key = layout.evaluation_prefix(config.prefix) + layout.MANIFEST
    asleep(4, lambda: store.put(key, b"of another model"))
    with pytest.raises(StorageFailure, match=r"no whole report on sha256:.* next pod"):
        make_report(config, settings)
    assert store.get(key) == b"of another model"


def test_a_write_whose_answer_is_lost_is_known_again(
    config: EvaluationConfig, settings: PodSettings, store: ObjectStore, plans: list[EvaluationPlan], monkeypatch: Any
) -> None:
    put_if, lost = FolderStore.put_if, set[str]()

    def put(store: FolderStore, key: str, *rest: Any) -> str:
        etag = put_if(store, key, *rest)
        if key not in lost:
            lost.add(key)
            raise StorageUnreachable("the answer was lost; it is tried again")
        return etag

    monkeypatch.setattr(FolderStore, "put_if", put)
    monkeypatch.setattr("kinema_jobs.train.storage.FIRST_WAIT", 0.01)
    make_report(config, settings)
    assert len(lost) == 4
    assert whole(store, config)


def test_without_sections_all_are_asked_for(
    config: EvaluationConfig, settings: PodSettings, plans: list[EvaluationPlan]
) -> None:
    make_report(config.model_copy(update={"evaluation": Evaluation()}), settings)
    assert plans[0].sections == SECTIONS


def test_another_model_is_not_measured(
    config: EvaluationConfig, settings: PodSettings, plans: list[EvaluationPlan]
) -> None:
    other = config.model_copy(update={"model_digest": "sha256:" + "0" * 64})
    with pytest.raises(StorageFailure, match="holds the model sha256:"):
        make_report(other, settings)
    assert not plans


@pytest.mark.parametrize("what", ["changed", "missing"])
def test_a_model_that_is_not_whole_is_not_measured(
    config: EvaluationConfig, settings: PodSettings, store: ObjectStore, plans: list[EvaluationPlan], what: str
) -> None:
    key = layout.export_prefix(config.prefix) + "kinema.json"
    if what == "changed":
        store.put(key, store.get(key) + b" ")
    else:
        store.delete(key)
    with pytest.raises(StorageFailure, match="the exported model cannot be fetched"):
        make_report(config, settings)
    assert not plans
    assert not list(settings.scratch.iterdir())


def test_what_the_model_refuses_is_the_users_to_correct(
    config: EvaluationConfig, settings: PodSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Report:
        raise ConfigError("There is no section 'drift'.")

    monkeypatch.setattr(evaluation_report, "evaluate", refuse)
    with pytest.raises(BadConfiguration, match=r"cannot be evaluated with this spec\.evaluation: There is no section"):
        make_report(config, settings)


def test_the_process_ends_with_the_code_of_its_failure(
    config: EvaluationConfig, settings: PodSettings, plans: list[EvaluationPlan]
) -> None:
    def word() -> TerminationMessage:
        return TerminationMessage.model_validate_json(settings.termination_log.read_bytes())

    argument = config.model_dump_json(by_alias=True)
    assert evaluation.main(["--config", argument]) == 0
    assert not settings.termination_log.exists()
    assert evaluation.main(["--config", argument.replace(config.model_digest, "sha256:0")]) == EXIT_CODES["network"]
    assert word().failure_class == "network"
    assert evaluation.main(["--config", argument.replace('"clips":4', '"clips":1')]) == EXIT_CODES["user_error"]
    assert "clips" in word().message
    assert evaluation.main(["--config"]) == EXIT_CODES["user_error"]


def test_every_figure_of_a_summary_may_stand_in_a_gate() -> None:
    found = report(EvaluationPlan())
    assert summary(found).keys() <= set(METRICS)
    assert summary(found)["colour"]["accuracy"] == gate_scores(found)["colour"].value


def test_the_api_names_every_section_of_the_model() -> None:
    names = Evaluation.model_json_schema()["properties"]["sections"]["anyOf"][0]["items"]["enum"]
    assert set(SECTIONS) <= set(names)

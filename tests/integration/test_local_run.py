"""A run without a cluster: the processes are the AppDef's, and the story of a killed agent ends with a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from torchx.specs import Role, macros

from kinema_api import launch, names
from kinema_api.objectstore import StoreLocation
from kinema_jobs.local.site import SCHEDULER_ENV, SCRATCH_ENV, Folders, LocalRun, local_site
from kinema_model.artefact import load_model
from stage.trainers import tiny_training

pytestmark = pytest.mark.timeout(900)


def process(pid: int) -> tuple[list[str], dict[str, str]]:
    """argv and environment of a live process; the kernel fills them in just after exec has let the parent go."""
    while not Path(f"/proc/{pid}/environ").read_bytes():
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended"
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().rstrip("\0").split("\0")
    return argv, dict(pair.split("=", 1) for pair in pairs)


def expected(role: Role, replica: int) -> Role:
    """The AppDef's role with TorchX's macros filled in."""
    return macros.Values(img_root="", app_id="", replica_id=str(replica), rank0_env="").apply(role)


def test_argv_and_env_of_live_processes_are_the_appdefs(tmp_path: Path) -> None:
    training = tiny_training(10)
    folders = Folders(tmp_path)
    store = StoreLocation(endpoint=f"file://{tmp_path}/store", bucket="kinema")
    app = launch.training_app(training, launch.run_config(training, 1, 1, None), local_site(folders, store, None))
    run = LocalRun(app, folders)
    try:
        pids = {launch.STORE_ROLE: [run.store_pid()], launch.TRAINER_ROLE: run.worker_pids()}
        listed = {launch.TRAINER_ROLE: {*launch.RUNTIME_ENV, SCRATCH_ENV, names.ENV_THREADS, *SCHEDULER_ENV}}
        for role in app.roles:
            assert len(pids[role.name]) == role.num_replicas
            for replica, pid in enumerate(pids[role.name]):
                argv, env = process(pid)
                wanted = expected(role, replica)
                assert argv == ["python", *wanted.args]
                differs = {name for name in {*env, *os.environ} if env.get(name) != os.environ.get(name)}
                given = {name: env[name] for name in env if name in wanted.env}
                assert given == wanted.env
                assert differs - set(wanted.env) <= listed.get(role.name, set(SCHEDULER_ENV))
    finally:
        for index in range(training.spec.nodes):
            run.kill_worker(index)
        run.close()


def local(*arguments: str) -> tuple[int, list[dict[str, object]]]:
    """`python -m kinema_jobs.local`: its exit code and events."""
    done = subprocess.run(
        [sys.executable, "-m", "kinema_jobs.local", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def manifest(folder: Path, steps: int, **changes: object) -> str:
    """A training as a YAML file."""
    spec = tiny_training(steps, **changes).spec.to_wire()
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump({"kind": "VideoModelTraining", "metadata": {"name": "trial"}, "spec": spec}))
    return str(path)


def test_an_agent_is_killed_and_the_model_is_published(tmp_path: Path) -> None:
    code, events = local(manifest(tmp_path, 300), "--work", str(tmp_path / "work"), "--kill-after-step", "12")
    by_name = {str(event["event"]): event for event in events}
    assert code == 0, by_name
    assert by_name["killed"]["worker"] == 1
    assert float(str(by_name["recovered"]["seconds"])) > 0
    assert by_name["progress"]["exported"] is True
    published = by_name["published"]
    folder = Path(str(published["folder"]))
    assert folder.name == str(published["digest"]).removeprefix("sha256:")
    assert load_model(folder).config.network.width == 24
    assert not list((tmp_path / "work").glob("run-*/scratch"))


def test_what_cannot_run_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = manifest(tmp_path, 10)
    work = str(tmp_path / "work")
    for arguments, sentence in (
        ((path, "--nodes", "7"), "outside elastic.minNodes 1 and maxNodes 3: change nodes or the bounds"),
        ((path, "--nodes", "1", "--kill-after-step", "3"), "set elastic.minNodes below nodes"),
        ((str(tmp_path / "none.yaml"),), "correct the file"),
    ):
        code, events = local(*arguments, "--work", work)
        assert code == 2
        assert events[-1]["failureClass"] == "user_error"
        assert sentence in str(events[-1]["message"])


@pytest.mark.parametrize(("least", "code"), [(0.0, 0), (1.0, 1)])
def test_a_model_is_measured_before_it_is_published(tmp_path: Path, least: float, code: int) -> None:
    evaluation = {"clips": 2, "sections": ["captions"], "gate": {"colour": least}}
    path = manifest(tmp_path, 4, evaluation=evaluation)
    ended, events = local(path, "--work", str(tmp_path / "work"))
    by_name = {str(event["event"]): event for event in events}
    assert ended == code, by_name
    measured = by_name["evaluated"]
    assert measured["passed"] is (code == 0)
    assert Path(str(measured["report"])).read_text().startswith("<!doctype html>")
    assert ("published" in by_name) is (code == 0)
    assert bool(list((tmp_path / "work").glob("store/kinema/models/*"))) is (code == 0)
    if code:
        assert "The model is not published: colour is" in str(by_name["error"]["message"])

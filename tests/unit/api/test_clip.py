"""A field of a clip is declared in one place, from which resource, work order, commands and renderer take it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kinema_api.clip import (
    DEFAULT_GUIDANCE_SCALE,
    DEFAULT_SECONDS,
    DEFAULT_STEPS,
    DEFAULT_STRENGTHS,
    ClipRequest,
    ClipSpec,
)
from kinema_api.clip_options import clip_options, given_fields
from kinema_api.errors import InvalidManifest
from kinema_api.generation import IMMUTABLE, VideoGenerationSpec
from kinema_api.inputs import WEAKENED_TASKS
from kinema_api.schema import structural_schema
from kinema_api.wire import WorkOrder

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = [
    *(ROOT / "operator" / name for name in ("kinema_api", "kinema_operator", "kinema_cli")),
    ROOT / "jobs" / "kinema_jobs",
]
FIELDS = tuple(ClipSpec.model_fields)
OWN = ("negative_prompt", "expand_prompt", "input_seconds", "strength", "guidance_scale")
"""Names that mean a clip's field wherever they stand; a result or a model has seconds and others too."""

ORDER_OF_BEFORE: dict[str, Any] = {
    "uid": "uid-1",
    "attempt": 2,
    "namespace": "films",
    "name": "red-square",
    "model": {"digest": "sha256:ab", "manifestUrl": "http://store/m", "files": []},
    "prompt": "a red square",
    "negativePrompt": "blur",
    "expandPrompt": False,
    "task": "edit",
    "inputs": [{"name": "input", "url": "http://store/i", "bytes": 7}],
    "inputSeconds": 0.5,
    "maskRegion": {"left": 0, "top": 0, "width": 8, "height": 8},
    "strength": 0.5,
    "seconds": 1.0,
    "shots": [{"prompt": "a blue circle", "seconds": 2.0}],
    "size": "24x24",
    "fps": 8,
    "seed": 7,
    "steps": 16,
    "guidanceScale": 2.0,
    "uploads": [{"name": "video.mp4", "url": "http://store/v"}],
    "caBundle": "PEM",
}
"""A work order as version 0.1.0 wrote it: operators and servers of different versions read one another's."""


def declarations() -> Iterator[tuple[str, str]]:
    """(field, file and class) of every annotation in a model of the packages."""
    for path in (path for package in PACKAGES for path in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.bases:  # models have a base; a dataclass holds what was parsed
                for line in node.body:
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                        yield line.target.id, f"{path.relative_to(ROOT)} {node.name}"


@pytest.mark.parametrize("field", OWN)
def test_a_field_is_declared_once(field: str) -> None:
    assert [where for name, where in declarations() if name == field] == ["operator/kinema_api/clip.py ClipRequest"]


@pytest.mark.parametrize("model", [VideoGenerationSpec, WorkOrder])
def test_resource_and_order_declare_no_field_of_a_clip(model: type[ClipRequest]) -> None:
    assert not set(model.__annotations__) & set(FIELDS)
    assert set(ClipRequest.model_fields) <= set(model.model_fields)


@pytest.mark.parametrize("field", FIELDS)
def test_no_command_writes_an_option_out(field: str) -> None:
    """--prompt apart, which is no option of `kinema generate` and the local command's own."""
    flag = "--shot" if field == "shots" else f"--{field.replace('_', '-')}"
    commands = [ROOT / "operator/kinema_cli/generate.py", ROOT / "jobs/kinema_jobs/generate.py"]
    written = [path.name for path in commands if f'"{flag}"' in path.read_text()]
    assert written == (["generate.py"] if field == "prompt" else [])


def test_options_are_the_fields_and_what_is_not_given_is_left_to_the_model() -> None:
    taken: dict[str, Any] = {}

    @click.command()
    @clip_options(click.STRING)
    def command(**options: Any) -> None:
        taken.update(options)

    assert {option.name for option in command.params} == set(FIELDS) - {"prompt"}
    assert CliRunner().invoke(command, []).exit_code == 0
    assert given_fields(taken) == {}
    given = ["--steps=3", "--guidance-scale=4", "--shot=2:a blue circle", "--shot=1:a star", "--expand-prompt"]
    assert CliRunner().invoke(command, given).exit_code == 0
    shots = [shot.to_wire() for shot in taken["shots"]]
    assert shots == [{"prompt": "a blue circle", "seconds": 2.0}, {"prompt": "a star", "seconds": 1.0}]
    assert {k: v for k, v in given_fields(taken).items() if k != "shots"} == {
        "steps": 3,
        "guidance_scale": 4.0,
        "expand_prompt": True,
    }
    assert "SECONDS:PROMPT, such as" in CliRunner().invoke(command, ["--shot=a star"]).output


def test_help_tells_defaults_and_bounds_of_the_model() -> None:
    command = click.Command("c", callback=lambda **_: None)
    helps = {o.name: str(o.help) for o in clip_options(click.STRING)(command).params if isinstance(o, click.Option)}
    schema = structural_schema(ClipSpec)["properties"]
    usual_values = {"steps": DEFAULT_STEPS, "guidance_scale": DEFAULT_GUIDANCE_SCALE, "seconds": DEFAULT_SECONDS}
    for name, usual in usual_values.items():
        field = schema[str(ClipSpec.model_fields[name].alias)]
        assert f"Default: {usual:g}" in helps[name]
        assert f"at most {field['maximum']:g}" in helps[name]


def test_all_that_a_clip_is_made_of_is_immutable() -> None:
    assert {str(field.alias) for field in ClipSpec.model_fields.values()} <= set(IMMUTABLE)


def test_the_tasks_with_a_strength_have_a_usual_one() -> None:
    assert set(DEFAULT_STRENGTHS) == set(WEAKENED_TASKS)


def test_an_order_of_a_version_before_is_read_and_written_alike() -> None:
    assert WorkOrder.parse(ORDER_OF_BEFORE).to_wire() == ORDER_OF_BEFORE


def test_an_order_without_a_seed_is_refused() -> None:
    with pytest.raises(InvalidManifest, match="the order has no seed"):
        WorkOrder.parse({key: value for key, value in ORDER_OF_BEFORE.items() if key != "seed"})


def test_shots_together_are_as_long_as_a_clip_may_be() -> None:
    shots = [{"prompt": "a blue circle", "seconds": 31}]
    assert ClipRequest.parse({"prompt": "a star", "seconds": 29, "shots": shots}).seconds == 29
    with pytest.raises(InvalidManifest, match="longer than 60 seconds: shorten some"):
        ClipRequest.parse({"prompt": "a star", "seconds": 30, "shots": shots})

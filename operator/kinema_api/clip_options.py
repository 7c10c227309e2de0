"""The fields of a clip as options of a command line, made from kinema_api.clip: types, defaults, bounds and help.

Bounds are not checked here: `ClipRequest.parse` checks them, with the messages of the API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from kinema_api.clip import ClipSpec, Shot
from kinema_api.errors import InvalidManifest
from kinema_api.reference import limits
from kinema_api.schema import Schema, structural_schema

Command = Callable[..., Any]
WORDS: Final = ("prompt", "negative_prompt", "shots")
"""Fields with text of a user, which is never passed by argv: every user of the machine can read a process's argv."""
_SHOT: Final = "--shot"
_TYPES: Final[dict[str, click.ParamType[Any]]] = {"integer": click.INT, "number": click.FLOAT, "string": click.STRING}


def _shot(said: str) -> Shot:
    seconds, _, prompt = said.partition(":")
    try:
        return Shot.parse({"seconds": seconds, "prompt": prompt})
    except InvalidManifest as error:
        raise click.BadParameter(f"{_SHOT} is SECONDS:PROMPT, such as '2:a red square moves right': {error}") from None


def clip_options(files: click.ParamType[Any], named: str | None = None) -> Callable[[Command], Command]:
    """A decorator that adds an option for each field of a clip except the prompt, under the field's Python name.

    `files` is the type of input, end and mask; `named` describes their values in the help. An option that is not given
    is None, for shots an empty tuple.
    """
    schema = structural_schema(ClipSpec)["properties"]

    def add(command: Command) -> Command:
        for name, field in reversed(ClipSpec.model_fields.items()):
            if name != "prompt":
                command = _option(name, schema[field.alias or name], files, named)(command)
        return command

    return add


def given_fields(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are fields of a clip and were given."""
    return {name: options[name] for name in ClipSpec.model_fields if options.get(name) not in (None, ())}


def _option(name: str, schema: Schema, files: click.ParamType[Any], named: str | None) -> Callable[[Command], Command]:
    flag, text = f"--{name.replace('_', '-')}", _help(schema)
    if schema["type"] == "array":
        return click.option(
            _SHOT, name, type=_shot, multiple=True, metavar="SECONDS:PROMPT", help=f"{text}  [repeatable]"
        )
    if schema["type"] == "boolean":
        return click.option(flag, name, is_flag=True, default=None, help=text)
    if schema["type"] == "object":
        return click.option(flag, name, type=files, metavar=named, help=text)
    kind = click.Choice(schema["enum"]) if "enum" in schema else _TYPES[schema["type"]]
    return click.option(flag, name, type=kind, help=text)


def _help(schema: Schema) -> str:
    """The field's description, default and bounds."""
    first, _, rest = schema["description"].partition(". ")
    default = next((part for part in rest.split(". ") if part.startswith("Default: ")), "")
    said = ". ".join(part.rstrip(".") for part in (first, default) if part)
    notes = [f"default: {schema['default']}"] if schema.get("default") else []
    notes += limits(schema) if schema["type"] in ("integer", "number") else []
    return f"{said}." + (f"  [{'; '.join(notes)}]" if notes else "")

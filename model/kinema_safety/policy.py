"""What an administrator decides about prompts: thresholds, own lists, what is disabled or allowed for whom.

A policy is YAML or JSON text, the value of a key of a ConfigMap:

    thresholds: {violence: 0.6}
    lists:
      - {category: ip, terms: [Acme Rocket Squirrel, 火箭松鼠]}
    allow: [Winston Churchill]
    namespaces:
      newsroom: {disabled: [violence], allow: [Angela Merkel]}

The category minors has no threshold and no list that allows, and cannot be switched off.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from kinema_safety.errors import PolicyRefused
from kinema_safety.verdict import Category

LONGEST_POLICY: Final = 1 << 20
"""Bytes of a policy's text; a ConfigMap holds no more."""
THRESHOLD: Final = 0.3
"""The least score of the classifier that refuses, where a policy says nothing."""


def _not_minors(category: Category) -> Category:
    if category == Category.MINORS:
        raise ValueError("minors can neither be switched off nor be given a threshold; remove it")
    return category


Adjustable = Annotated[Category, AfterValidator(_not_minors)]
Share = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OwnList(_Strict):
    """Terms that refuse, in the form of the package's lists: `*` for any ending, `..` for up to four other words."""

    category: Category
    terms: Annotated[tuple[Text, ...], Field(min_length=1, max_length=10_000)]


class Rules(_Strict):
    """What holds for a namespace in addition to what holds for all."""

    thresholds: dict[Adjustable, Share] = {}
    disabled: frozenset[Adjustable] = frozenset()
    allow: tuple[Text, ...] = ()
    """Names and terms that are let through, in any spelling of the lists."""


class Policy(Rules):
    """Rules for all namespaces, own lists, and rules for some. `digest` names the text that it was read from."""

    lists: tuple[OwnList, ...] = ()
    namespaces: dict[Text, Rules] = {}
    digest: str = "sha256:" + hashlib.sha256(b"").hexdigest()

    @field_validator("digest", mode="before")
    @classmethod
    def _is_set_by_parse(cls, value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith("sha256:"):
            raise ValueError("the digest is computed; remove it")
        return value

    @cached_property
    def _everywhere(self) -> Rules:
        return Rules(thresholds=self.thresholds, disabled=self.disabled, allow=self.allow)

    def rules(self, namespace: str | None = None) -> Rules:
        """What holds in a namespace: its own threshold before that of all, and what either switches off or allows."""
        own = self.namespaces.get(namespace) if namespace is not None else None
        if own is None:
            return self._everywhere
        return Rules(
            thresholds={**self.thresholds, **own.thresholds},
            disabled=self.disabled | own.disabled,
            allow=(*self.allow, *own.allow),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `PolicyRefused` with one sentence that names the field, or the line where the text is no YAML."""
        content = _content(text)
        if "digest" in content:
            raise PolicyRefused("policy: there is no field digest. Remove it.")
        try:
            digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
            return cls.model_validate({**content, "digest": digest})
        except ValidationError as error:
            raise PolicyRefused(f"policy: {_first(error)}") from None


def _content(text: str) -> dict[str, Any]:
    if len(text.encode()) > LONGEST_POLICY:
        raise PolicyRefused(f"policy: the text has more than {LONGEST_POLICY} bytes. Shorten its lists.")
    try:
        content = yaml.load(text, _NoAliases)  # noqa: S506 -- a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise PolicyRefused(f"policy: no YAML or JSON{where}: {reason}. Correct it.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise PolicyRefused(
            "policy: it is not a map of fields. Write 'thresholds:', 'lists:', 'disabled:' or 'namespaces:'."
        )
    return {str(key): value for key, value in content.items()}


class _NoAliases(yaml.SafeLoader):
    """Without anchors, by which a short text becomes an endless one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias (*name) is not allowed", mark)
        return super().compose_node(parent, index)


def _first(error: ValidationError) -> str:
    """One sentence about the first fault, with its field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        return f"there is no field {field}. Remove it, or correct its name."
    reason = first["msg"].removeprefix("Value error, ")
    return f"{field}: {reason[0].lower()}{reason[1:]}. Correct it."

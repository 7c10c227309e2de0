"""Volumes that a pod template may add: claims, empty directories and ConfigMaps, at paths that shadow nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from kinema_api.base import SUBDOMAIN, ApiModel, DoesNotMatch, Matches, Quantity, cel_rules
from kinema_api.pod_scheduling import refuse
from kinema_api.quantity import quantity

NOT_POSITIVE: Final = "a size is a quantity above 0 such as 512Mi or 16Gi (there is no GB): correct it"
ONE_SOURCE: Final = "a volume has exactly one of persistentVolumeClaim, emptyDir and configMap: keep one"
TWO_AT_ONE_PATH: Final = "two volumes have the same mountPath: give each a path of its own"
PATH_IS_TAKEN: Final = (
    "mountPath lies in a folder of the image or of Kinema (/bin, /boot, /dev, /etc, /lib*, /opt, /proc, /root, /run, "
    "/sbin, /sys, /tmp, /usr, /var): use a path such as /mnt/data"
)
_SEGMENT: Final = r"/[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*"
"""One folder of a path: neither empty nor dots alone."""


@dataclass(frozen=True)
class _AboveZero:
    """A quantity above 0."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks the quantity after all other constraints."""

        def check(value: int | str) -> int | str:
            try:
                positive = quantity(value) > 0
            except ValueError:
                positive = False
            if not positive:
                raise refuse(NOT_POSITIVE)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Emits the CEL rule."""
        rule = "isQuantity(string(self)) && sign(quantity(string(self))) > 0"
        return {**handler(schema), **cel_rules((rule, NOT_POSITIVE))}


PositiveQuantity = Annotated[Quantity, _AboveZero()]
"""A Kubernetes quantity above 0."""


def object_name(what: str) -> Matches:
    """The pattern of most names of Kubernetes; `what` begins the message."""
    sentence = "holds only lower-case letters, digits, dashes and dots, and begins and ends with a letter or digit"
    return Matches(rf"^{SUBDOMAIN}$", f"{what} {sentence}: correct it")


ClaimName = Annotated[str, Field(min_length=1, max_length=253), object_name("a claim's name")]
ConfigMapName = Annotated[str, Field(min_length=1, max_length=253), object_name("a ConfigMap's name")]


class ClaimSource(ApiModel):
    """A PersistentVolumeClaim of the namespace."""

    claim_name: ClaimName
    """Name of the claim."""


class EmptyDirSource(ApiModel):
    """An empty folder that lives as long as the pod."""

    medium: Literal["Memory"] | None = None
    """Memory: in memory, which counts towards the container's memory; default: on the node's disk."""
    size_limit: PositiveQuantity | None = None
    """Most that it may hold."""


class ConfigMapSource(ApiModel):
    """A ConfigMap of the namespace, one file per key."""

    name: ConfigMapName
    """Name of the ConfigMap."""
    optional: bool = False
    """Whether the pod starts without the ConfigMap."""


class Volume(ApiModel):
    """A volume and the path at which the container sees it: exactly one source."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "[has(self.persistentVolumeClaim), has(self.emptyDir), has(self.configMap)].filter(g, g).size() == 1",
                ONE_SOURCE,
            )
        )
    )

    name: Annotated[
        str,
        Field(min_length=1, max_length=48),
        Matches(
            r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            "a volume's name holds only lower-case letters, digits and dashes: correct it",
        ),
    ]
    """Name of the volume, unique in this list."""
    mount_path: Annotated[
        str,
        Field(min_length=2, max_length=256),
        Matches(
            rf"^({_SEGMENT})+$",
            "mountPath is an absolute path of letters, digits, dots, dashes and underscores, without . and .. and "
            "without a slash at its end: write it like /mnt/data",
        ),
        DoesNotMatch(r"^/(bin|boot|dev|etc|lib[^/]*|opt|proc|root|run|sbin|sys|tmp|usr|var)(/|$)", PATH_IS_TAKEN),
    ]
    """Path in the container, such as /mnt/data."""
    read_only: bool = False
    """Whether the container may not write to it."""
    persistent_volume_claim: ClaimSource | None = None
    """A PersistentVolumeClaim of the namespace."""
    empty_dir: EmptyDirSource | None = None
    """An empty folder that lives as long as the pod."""
    config_map: ConfigMapSource | None = None
    """A ConfigMap of the namespace."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.persistent_volume_claim, self.empty_dir, self.config_map)
        if sum(source is not None for source in sources) != 1:
            raise refuse(ONE_SOURCE)
        return self


def mount_path_rules() -> dict[str, Any]:
    """The CEL rule over all volumes of a template."""
    return cel_rules(("self.all(v, self.exists_one(w, w.mountPath == v.mountPath))", TWO_AT_ONE_PATH))

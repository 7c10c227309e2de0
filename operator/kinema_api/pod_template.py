"""What a platform team may set on the pods of trainings, evaluations and servers: a bounded part of a pod template.

The image, the command, the security context, restartPolicy and the volumes and labels of Kinema's own are not part of
it. Names that would reach into these (environment variables, labels, mount paths) are refused at admission.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from kinema_api.base import (
    ApiModel,
    DoesNotMatch,
    KeysMatch,
    LabelValue,
    Matches,
    NodeSelector,
    SecretName,
    cel_rules,
)
from kinema_api.pod_scheduling import LABEL_KEY_PATTERN, Affinity, SpreadConstraint, Toleration, refuse
from kinema_api.pod_volumes import PositiveQuantity, Volume, mount_path_rules, object_name
from kinema_api.quantity import quantity
from kinema_api.resources import Resources

Template = TypeVar("Template", bound="PodTemplate")

GPU_RESOURCES: Final = ("nvidia.com/gpu", "amd.com/gpu")
"""Extended resources whose devices torch computes on: one worker process each."""

_PLATFORM: Final = r"([^/]*\.)?(kubernetes\.io|k8s\.io)/"
RESERVED_LABELS: Final = (
    rf"^({_PLATFORM}|([^/]*\.)?x-k8s\.io/|kinema\.dev/|(pod-template-hash|controller-uid|job-name)$)"
)
RESERVED_ANNOTATIONS: Final = rf"^({_PLATFORM}|kinema\.dev/|prometheus\.io/)"
EVICTION_ANNOTATION: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""The one annotation of a platform's domain that a template may have."""
RESERVED_ENV: Final = (
    "(?i)^(KINEMA_.*|LD_.*|PYTHON.*|PATH|HOME|USER|TMPDIR|ENV|BASH_ENV|GLIBC_TUNABLES|OMP_NUM_THREADS|"
    "JOB_COMPLETION_INDEX|(LOCAL_|GROUP_|ROLE_)?RANK|(LOCAL_|GROUP_|ROLE_)?WORLD_SIZE|MASTER_.*|TORCHELASTIC_.*|"
    ".*_VISIBLE_DEVICES)$"
)
"""Without regard to case: settings are read without regard to case too."""

LABELS_ARE_RESERVED: Final = (
    "labels of kinema.dev/, kubernetes.io/, k8s.io/ and x-k8s.io/, pod-template-hash, controller-uid and job-name "
    "belong to Kinema and Kubernetes: use a prefix of your own"
)
ANNOTATIONS_ARE_RESERVED: Final = (
    f"annotations of kinema.dev/, prometheus.io/, kubernetes.io/ (but {EVICTION_ANNOTATION}) and k8s.io/ belong to "
    "Kinema and Kubernetes: use a prefix of your own"
)
ENV_IS_RESERVED: Final = (
    "KINEMA_*, LD_*, PYTHON*, PATH, HOME, USER, TMPDIR, OMP_NUM_THREADS, ranks and addresses of torch and "
    "*_VISIBLE_DEVICES are set by Kinema or change which program runs: use another name"
)
GIVEN_TWICE: Final = "two entries of env have the same name: keep one"
TWO_VENDORS: Final = "a pod computes on GPUs of one vendor: keep nvidia.com/gpu or amd.com/gpu"
SHARED_MEMORY_ABOVE_LIMIT: Final = (
    "sharedMemorySize counts towards the container's memory: lower it, or raise resources.limits.memory"
)
SYSTEM_PRIORITY: Final = (
    "a priority class of system- is for the cluster's own pods: name a priority class of your own, or remove "
    "priorityClassName"
)


@dataclass(frozen=True)
class KeysDoNotMatch:
    """Refuses keys of a map that match the pattern, but those of `but`. Place it after a `KeysMatch`."""

    pattern: str
    message: str
    but: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks every key after all other constraints."""

        def check(value: dict[str, Any]) -> dict[str, Any]:
            if any(re.search(self.pattern, key) for key in value if key not in self.but):
                raise refuse(self.message)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Adds the pattern to the CEL rules."""
        known = handler(schema)
        but = f"key in {list(self.but)} || " if self.but else ""
        rules = cel_rules((f"self.all(key, {but}!key.matches({json.dumps(self.pattern)}))", self.message))
        rules["x-kubernetes-validations"][:0] = known.get("x-kubernetes-validations", [])
        return {**known, **rules}


Labels = Annotated[
    dict[str, LabelValue],
    Field(max_length=32),
    KeysMatch(LABEL_KEY_PATTERN, "a label's key is NAME or DOMAIN/NAME, such as example.com/team: correct it"),
    KeysDoNotMatch(RESERVED_LABELS, LABELS_ARE_RESERVED),
]
Annotations = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(max_length=32),
    KeysMatch(LABEL_KEY_PATTERN, "an annotation's key is NAME or DOMAIN/NAME, such as example.com/owner: correct it"),
    KeysDoNotMatch(RESERVED_ANNOTATIONS, ANNOTATIONS_ARE_RESERVED, (EVICTION_ANNOTATION,)),
]
ServiceAccountName = Annotated[str, Field(min_length=1, max_length=253), object_name("a service account's name")]


class EnvVar(ApiModel):
    """A variable of the container's environment."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=128),
        Matches(
            r"^[A-Za-z_][A-Za-z0-9_]*$",
            "a variable's name holds only letters, digits and underscores, and no digit first: correct it",
        ),
        DoesNotMatch(RESERVED_ENV, ENV_IS_RESERVED),
    ]
    """Name of the variable, such as NCCL_DEBUG."""
    value: Annotated[
        str, Field(max_length=4096), Matches(r"^[^\x00]*$", "a variable's value holds no NUL character: remove it")
    ] = ""
    """Value, taken literally: $(NAME) is not expanded. It is no place for keys and passwords."""


def _given(field: str) -> str:
    limits = "self.resources.limits"
    return f"has(self.resources) && has({limits}) && '{field}' in {limits}"


_SHARED: Final = "string(self.sharedMemorySize)"
_MEMORY: Final = "string(self.resources.limits['memory'])"


class PodTemplate(ApiModel):
    """Bounded part of a pod template. Fields have the meaning that they have in Kubernetes; what Kinema sets itself
    cannot be overridden."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                f"!has(self.sharedMemorySize) || !({_given('memory')}) || !isQuantity({_SHARED}) || "
                f"!isQuantity({_MEMORY}) || quantity({_SHARED}).compareTo(quantity({_MEMORY})) <= 0",
                SHARED_MEMORY_ABOVE_LIMIT,
            ),
            (
                "!has(self.resources) || "
                + " || ".join(
                    f"!((has(self.resources.limits) && '{name}' in self.resources.limits) || "
                    f"(has(self.resources.requests) && '{name}' in self.resources.requests))"
                    for name in GPU_RESOURCES
                ),
                TWO_VENDORS,
            ),
        )
    )

    labels: Labels = Field(default_factory=dict)
    """Labels of the pods. Labels of the resource itself reach Job and pods too; these win."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the pods."""
    resources: Resources | None = None
    """Compute resources of the container. A trainer has one worker process per GPU of the limit (nvidia.com/gpu or
    amd.com/gpu)."""
    node_selector: NodeSelector | None = None
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that the pods tolerate, in addition to those of lost nodes and to nvidia.com/gpu with such a GPU."""
    affinity: Affinity | None = None
    """Scheduling constraints."""
    topology_spread_constraints: Annotated[
        tuple[SpreadConstraint, ...],
        Field(
            max_length=8,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"],
            },
        ),
    ] = ()
    """How the pods are spread. Kinema prefers different nodes unless one of these is about kubernetes.io/hostname."""
    priority_class_name: (
        Annotated[
            str,
            Field(min_length=1, max_length=253),
            object_name("a priority class's name"),
            DoesNotMatch("^system-", SYSTEM_PRIORITY),
        ]
        | None
    ) = None
    """PriorityClass of the pods."""
    runtime_class_name: (
        Annotated[str, Field(min_length=1, max_length=253), object_name("a runtime class's name")] | None
    ) = None
    """RuntimeClass of the pods; default: the operator's."""
    image_pull_secrets: Annotated[
        tuple[SecretName, ...],
        Field(
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Secrets of the namespace with credentials of registries, in addition to the operator's."""
    env: Annotated[
        tuple[EnvVar, ...],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Variables of the container's environment."""
    volumes: Annotated[
        tuple[Volume, ...],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                **mount_path_rules(),
            },
        ),
    ] = ()
    """Volumes of the pods, each mounted at one path of the container."""
    shared_memory_size: PositiveQuantity | None = None
    """Size of /dev/shm, such as 16Gi; it counts towards the container's memory. Default: the operator's (1Gi)."""

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if len({variable.name for variable in self.env}) < len(self.env):
            raise refuse(GIVEN_TWICE)
        if sum(name in _named(self.resources) for name in GPU_RESOURCES) > 1:
            raise refuse(TWO_VENDORS)
        memory = self.resources.limits.get("memory") if self.resources else None
        if self.shared_memory_size and memory is not None and quantity(self.shared_memory_size) > quantity(memory):
            raise refuse(SHARED_MEMORY_ABOVE_LIMIT)
        return self

    @property
    def gpu_resource(self) -> str | None:
        """The extended resource of the GPUs that the container has."""
        return next((name for name in GPU_RESOURCES if name in _named(self.resources)), None)

    @property
    def gpus(self) -> int:
        """GPUs of the container; 0 without any."""
        name = self.gpu_resource
        return int(quantity(_named(self.resources)[name])) if name else 0

    def given(self) -> dict[str, Any]:
        """The fields that say something, by their Python names."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in found.items() if value not in (None, (), {})}

    def over(self, base: Template) -> Template:
        """`base`, with each field that this template gives in the place of that of `base`."""
        known = type(base).model_fields
        return base.model_copy(update={name: value for name, value in self.given().items() if name in known})


class TrainerPodTemplate(PodTemplate):
    """Bounded part of the trainers' pod template."""

    service_account_name: ServiceAccountName | None = None
    """Service account of the pods, one of the operator's list (allowedServiceAccounts in the chart's values). Its token
    is never mounted."""


def _named(resources: Resources | None) -> Mapping[str, Any]:
    return {**resources.requests, **resources.limits} if resources else {}


def given_once() -> tuple[tuple[str, str], ...]:
    """CEL rules of a type with `resources` and `nodeSelector` of its own beside `podTemplate`."""
    parts = " && ".join(_same(f"resources.{part}") for part in ("requests", "limits"))
    return tuple(
        (
            f"!has(self.{name}) || !has(self.podTemplate) || !has(self.podTemplate.{name}) || {same}",
            _twice(name),
        )
        for name, same in (("resources", parts), ("nodeSelector", "self.nodeSelector == self.podTemplate.nodeSelector"))
    )


def _same(field: str) -> str:
    """Two objects cannot be compared in CEL where each has a type of its own; their maps can."""
    own, other = f"self.{field}", f"self.podTemplate.{field}"
    return f"(has({own}) == has({other}) && (!has({own}) || {own} == {other}))"


def _twice(name: str) -> str:
    return f"{name} and podTemplate.{name} differ: keep podTemplate.{name}, which wins, and remove the other"


def require_given_once(
    resources: Resources | None, node_selector: Mapping[str, str] | None, template: PodTemplate | None
) -> None:
    """The rules of `given_once`.

    Raises:
        PydanticCustomError: a field is given twice, differently.
    """
    pairs: tuple[tuple[str, Any, Callable[[PodTemplate], Any]], ...] = (
        ("resources", resources, lambda given: given.resources),
        ("nodeSelector", node_selector, lambda given: given.node_selector),
    )
    for name, own, of in pairs:
        if template is not None and own is not None and of(template) not in (None, own):
            raise refuse(_twice(name))


def effective(template: Template, resources: Resources | None, node_selector: Mapping[str, str] | None) -> Template:
    """`template`, with the older fields beside it where it says nothing."""
    older = {"resources": resources, "node_selector": node_selector}
    missing = {name: value for name, value in older.items() if value and getattr(template, name) is None}
    return template.model_copy(update=missing)

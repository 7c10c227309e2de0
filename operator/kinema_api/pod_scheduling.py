"""Where a pod may run: tolerations, affinity and spread of a pod template, with the fields of Kubernetes' own types.

What Kubernetes would refuse only when the pod is made, minutes after the resource was accepted, is refused at
admission. Lists and strings are bounded: the API server computes the cost of rules from their bounds.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import LABEL_CHARACTERS, MESSAGE_ERROR, SUBDOMAIN, ApiModel, LabelValue, Matches, cel_rules

LABEL_KEY_PATTERN: Final = rf"^({SUBDOMAIN}/)?{LABEL_CHARACTERS}$"
MAX_KEY: Final = 317
"""Characters of DOMAIN/NAME: 253, a slash and 63."""
LabelKey = Annotated[
    str,
    Field(min_length=1, max_length=MAX_KEY),
    Matches(
        LABEL_KEY_PATTERN, "a label's key is NAME or DOMAIN/NAME, such as topology.kubernetes.io/zone: correct the key"
    ),
]

EXISTS_WITH_VALUE: Final = "a toleration with the operator Exists has no value: remove value, or use Equal"
KEY_NEEDED: Final = "a toleration without a key needs the operator Exists: give a key, or set operator to Exists"
SECONDS_NEED_NO_EXECUTE: Final = "tolerationSeconds needs the effect NoExecute: set effect, or remove tolerationSeconds"
NODE_LOSS: Final = (
    "Kinema itself sets how long a pod tolerates node.kubernetes.io/not-ready and node.kubernetes.io/unreachable: "
    "remove this toleration"
)
_NODE_LOSS_KEYS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
VALUES_NEEDED: Final = "the operators In and NotIn need values: give at least one value"
VALUES_UNUSED: Final = "the operators Exists and DoesNotExist have no values: remove values"
ONE_NUMBER: Final = "the operators Gt and Lt compare with one whole number: give one value such as 8"
DOMAINS_NEED_DO_NOT_SCHEDULE: Final = (
    "minDomains needs whenUnsatisfiable: DoNotSchedule: set that, or remove minDomains"
)
NOTHING_SELECTED: Final = "a labelSelector needs matchLabels or matchExpressions: give one of them"

Weight = Annotated[int, Field(ge=1, le=100)]


def refuse(message: str) -> PydanticCustomError:
    """A validation error whose message is a complete sentence."""
    return PydanticCustomError(MESSAGE_ERROR, "{sentence}", {"sentence": message})


class Toleration(ApiModel):
    """A taint that the pod tolerates, as in Kubernetes."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("self.operator != 'Exists' || self.value == ''", EXISTS_WITH_VALUE),
            ("self.key != '' || self.operator == 'Exists'", KEY_NEEDED),
            (
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                SECONDS_NEED_NO_EXECUTE,
            ),
            (f"!(self.key in {list(_NODE_LOSS_KEYS)})", NODE_LOSS),
        )
    )

    key: Annotated[
        str,
        Field(max_length=MAX_KEY),
        Matches(
            rf"^(({SUBDOMAIN}/)?{LABEL_CHARACTERS})?$",
            "a taint's key is NAME or DOMAIN/NAME, such as nvidia.com/gpu: correct the key",
        ),
    ] = ""
    """Key of the taint; empty, with the operator Exists: every taint."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Equal: the taint has this value; Exists: any value."""
    value: LabelValue = ""
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; default: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds for which a taint NoExecute is tolerated; default: for ever."""

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise refuse(EXISTS_WITH_VALUE)
        if not self.key and self.operator != "Exists":
            raise refuse(KEY_NEEDED)
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise refuse(SECONDS_NEED_NO_EXECUTE)
        if self.key in _NODE_LOSS_KEYS:
            raise refuse(NODE_LOSS)
        return self


Values = Annotated[tuple[LabelValue, ...], Field(max_length=16)]


class NodeRequirement(ApiModel):
    """A condition on a label of the node."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("!(self.operator in ['In', 'NotIn']) || self.values.size() > 0", VALUES_NEEDED),
            ("!(self.operator in ['Exists', 'DoesNotExist']) || self.values.size() == 0", VALUES_UNUSED),
            (
                "!(self.operator in ['Gt', 'Lt']) || "
                "self.values.size() == 1 && self.values.all(v, v.matches('^-?[0-9]{1,18}$'))",
                ONE_NUMBER,
            ),
        )
    )

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label is compared with values."""
    values: Values = ()
    """Values that the label is compared with."""

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        _check_values(self.operator, self.values)
        return self


class LabelRequirement(ApiModel):
    """A condition on a label of a pod."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("!(self.operator in ['In', 'NotIn']) || self.values.size() > 0", VALUES_NEEDED),
            ("!(self.operator in ['Exists', 'DoesNotExist']) || self.values.size() == 0", VALUES_UNUSED),
        )
    )

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared with values."""
    values: Values = ()
    """Values that the label is compared with."""

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        _check_values(self.operator, self.values)
        return self


def _check_values(operator: str, values: tuple[str, ...]) -> None:
    if operator in ("In", "NotIn") and not values:
        raise refuse(VALUES_NEEDED)
    if operator in ("Exists", "DoesNotExist") and values:
        raise refuse(VALUES_UNUSED)
    if operator in ("Gt", "Lt") and not (len(values) == 1 and values[0].removeprefix("-").isdigit()):
        raise refuse(ONE_NUMBER)


class NodeTerm(ApiModel):
    """Conditions on the labels of one node, all of which hold."""

    match_expressions: Annotated[tuple[NodeRequirement, ...], Field(min_length=1, max_length=8)]
    """Conditions on labels of the node."""


class NodeTerms(ApiModel):
    """Alternatives, one of which holds."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], Field(min_length=1, max_length=8)]
    """Alternatives."""


class PreferredNodes(ApiModel):
    """Nodes that are preferred."""

    weight: Weight
    """Weight of the preference, from 1 to 100."""
    preference: NodeTerm
    """The preferred nodes."""


class NodeAffinity(ApiModel):
    """Nodes on which the pod may run, or rather runs, as in Kubernetes."""

    required_during_scheduling_ignored_during_execution: NodeTerms | None = None
    """Nodes on which the pod may run. Nodes whose hardware failed are excluded from each alternative."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[PreferredNodes, ...], Field(max_length=8)
    ] = ()
    """Nodes that are preferred."""


class LabelSelector(ApiModel):
    """Selects pods by their labels."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "(has(self.matchLabels) && self.matchLabels.size() > 0) || self.matchExpressions.size() > 0",
                NOTHING_SELECTED,
            )
        )
    )

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=8)] = Field(default_factory=dict)
    """Labels that the pods have."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=8)] = ()
    """Conditions on labels of the pods."""

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if not (self.match_labels or self.match_expressions):
            raise refuse(NOTHING_SELECTED)
        return self


class PodTerm(ApiModel):
    """Pods of the same namespace, and how near is near."""

    label_selector: LabelSelector
    """The pods."""
    topology_key: LabelKey
    """Label of nodes: nodes with the same value are one place, such as kubernetes.io/hostname."""


class WeightedPodTerm(ApiModel):
    """A preference about other pods."""

    weight: Weight
    """Weight of the preference, from 1 to 100."""
    pod_affinity_term: PodTerm
    """The pods, and how near is near."""


class PodAffinity(ApiModel):
    """Pods of the namespace that the pod must, or should, be near to or away from, as in Kubernetes."""

    required_during_scheduling_ignored_during_execution: Annotated[tuple[PodTerm, ...], Field(max_length=8)] = ()
    """What must hold."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[WeightedPodTerm, ...], Field(max_length=8)
    ] = ()
    """What should hold."""


class Affinity(ApiModel):
    """Scheduling constraints of the pod, as in Kubernetes."""

    node_affinity: NodeAffinity | None = None
    """Nodes on which the pod may run."""
    pod_affinity: PodAffinity | None = None
    """Pods to be near to."""
    pod_anti_affinity: PodAffinity | None = None
    """Pods to be away from."""


class SpreadConstraint(ApiModel):
    """How pods of one attempt, or servers of one digest, are spread over the cluster, as in Kubernetes. Kinema selects
    the pods."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
                DOMAINS_NEED_DO_NOT_SCHEDULE,
            )
        )
    )

    max_skew: Annotated[int, Field(ge=1, le=1024)] = 1
    """Most pods by which two places may differ."""
    topology_key: LabelKey
    """Label of nodes: nodes with the same value are one place."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """Whether a pod that would break the constraint waits."""
    min_domains: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Least number of places."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes that the pod does not select count; default: Honor, they do not."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes with taints that the pod does not tolerate count; default: Ignore, they do."""

    @model_validator(mode="after")
    def _domains_can_be_demanded(self) -> Self:
        if self.min_domains is not None and self.when_unsatisfiable != "DoNotSchedule":
            raise refuse(DOMAINS_NEED_DO_NOT_SCHEDULE)
        return self

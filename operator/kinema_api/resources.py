"""Compute resources of a container, with the checks that Kubernetes applies to a pod."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import LABEL_CHARACTERS, MESSAGE_ERROR, SUBDOMAIN, ApiModel, KeysMatch, Quantity, cel_rules
from kinema_api.quantity import quantity

RESOURCE_KEYS: Final = (
    "a container's resource is cpu, memory, ephemeral-storage, hugepages-SIZE or DOMAIN/NAME such as nvidia.com/gpu: "
    "correct its name"
)
NO_QUANTITY: Final = "a quantity is a number of at least 0 such as 500m, 2 or 16Gi (there is no GB): correct it"
NOT_WHOLE: Final = "an extended resource (DOMAIN/NAME, such as nvidia.com/gpu) is a whole number: write 1, 2 or more"
ABOVE_LIMIT: Final = "a request must not exceed the limit of the same name: lower requests or raise limits"
NOT_EQUAL: Final = (
    "an extended resource (DOMAIN/NAME, such as nvidia.com/gpu) must be equal in requests and limits: make them equal"
)
_EACH_QUANTITY: Final = (
    ("self.all(k, isQuantity(string(self[k])) && sign(quantity(string(self[k]))) >= 0)", NO_QUANTITY),
    (
        "self.all(k, !k.contains('/') || (isQuantity(string(self[k])) && quantity(string(self[k])).isInteger()))",
        NOT_WHOLE,
    ),
)
_BOTH: Final = "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits)"
_READABLE: Final = "!isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k]))"
_COMPARED: Final = "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k])))"

ResourceList = Annotated[
    dict[str, Quantity],
    Field(max_length=16),
    KeysMatch(
        rf"^(cpu|memory|ephemeral-storage|hugepages-[1-9][0-9]*[KMGT]i|{SUBDOMAIN}/{LABEL_CHARACTERS})$",
        RESOURCE_KEYS,
        _EACH_QUANTITY,
    ),
]


class Resources(ApiModel):
    """Compute resources of a container, as in Kubernetes."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (f"{_BOTH} || {_READABLE} || {_COMPARED} <= 0)", ABOVE_LIMIT),
            (f"{_BOTH} || !k.contains('/') || {_READABLE} || {_COMPARED} == 0)", NOT_EQUAL),
        )
    )

    requests: ResourceList = Field(default_factory=dict)
    """Resources reserved for the container."""
    limits: ResourceList = Field(default_factory=dict)
    """Upper bounds for the container; nvidia.com/gpu goes here."""

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        problem = _problem(self.requests, self.limits)
        if problem:
            raise PydanticCustomError(MESSAGE_ERROR, "{sentence}", {"sentence": problem})
        return self


def _problem(requests: dict[str, Any], limits: dict[str, Any]) -> str:
    for part in (requests, limits):
        for name, value in part.items():
            try:
                number = quantity(value)
            except ValueError:
                return NO_QUANTITY
            if number < 0:
                return NO_QUANTITY
            if "/" in name and number != number.to_integral_value():
                return NOT_WHOLE
    for name in requests.keys() & limits.keys():
        if quantity(requests[name]) > quantity(limits[name]):
            return ABOVE_LIMIT
        if "/" in name and quantity(requests[name]) != quantity(limits[name]):
            return NOT_EQUAL
    return ""

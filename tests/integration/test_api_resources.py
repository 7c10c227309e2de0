"""Resources that no container can have are refused at admission, with a sentence, for trainings and for models."""

from __future__ import annotations

from typing import Any

import pytest

from integration.kinds import MODEL, TRAINING
from integration.kubectl import Kubectl, changed

pytestmark = pytest.mark.apiserver

NO_QUANTITY = "a quantity is a number of at least 0 such as 500m, 2 or 16Gi"
NOT_WHOLE = "is a whole number"
ABOVE = "a request must not exceed the limit of the same name"
NOT_EQUAL = "must be equal in requests and limits"
KEY = "a container's resource is cpu, memory, ephemeral-storage"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"limits": {"memory": "16GB"}}, NO_QUANTITY),
    ({"requests": {"memory": "lots"}}, NO_QUANTITY),
    ({"requests": {"cpu": ""}}, NO_QUANTITY),
    ({"requests": {"cpu": "-1"}}, NO_QUANTITY),
    ({"limits": {"cpu": -1}}, NO_QUANTITY),
    ({"requests": {"cpu": "1 "}}, NO_QUANTITY),
    ({"limits": {"nvidia.com/gpu": "500m"}}, NOT_WHOLE),
    ({"requests": {"nvidia.com/gpu": "1.5"}}, NOT_WHOLE),
    ({"requests": {"cpu": 2}, "limits": {"cpu": "500m"}}, ABOVE),
    ({"requests": {"memory": "2Gi"}, "limits": {"memory": "2G"}}, ABOVE),
    ({"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 2}}, NOT_EQUAL),
    ({"limits": {"gpu": 1}}, KEY),
    ({"limits": {"nvidia.com/g p u": 1}}, KEY),
    ({"requests": {"": 1}}, KEY),
]
TAKEN: list[dict[str, Any]] = [
    {"requests": {"cpu": "1500m", "memory": "1.5Gi"}, "limits": {"cpu": 2, "memory": "2Gi"}},
    {"requests": {"nvidia.com/gpu": 1}},
    {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": 1}},
    {"limits": {"ephemeral-storage": "1e10", "hugepages-2Mi": "4Mi", "memory": "128974848000m"}},
    {"requests": {"cpu": ".5"}, "limits": {"cpu": "0.5"}},
]


def placed(kind: str, resources: dict[str, Any]) -> dict[str, Any]:
    if kind == "training":
        return changed(TRAINING, "spec.worker", {"resources": resources})
    return changed(MODEL, "spec.serving", {"resources": resources})


@pytest.mark.parametrize("kind", ["training", "model"])
@pytest.mark.parametrize(("resources", "sentence"), REFUSED)
def test_what_no_container_can_have_is_refused(
    kind: str, resources: dict[str, Any], sentence: str, kubectl: Kubectl
) -> None:
    answer = kubectl.apply(placed(kind, resources), "--dry-run=server")
    assert answer.code != 0
    assert sentence in answer.err


@pytest.mark.parametrize("kind", ["training", "model"])
@pytest.mark.parametrize("resources", TAKEN)
def test_what_a_container_can_have_is_taken(kind: str, resources: dict[str, Any], kubectl: Kubectl) -> None:
    answer = kubectl.apply(placed(kind, resources), "--dry-run=server")
    assert answer.code == 0, answer.err

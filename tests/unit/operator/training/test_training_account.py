"""A service account that is not on the list starts nothing, and the condition says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from kinema_operator.core.settings import Settings
from kinema_operator.training.plan import decide
from kinema_operator.training.view import View
from unit.operator.training.facts import condition, made, message

WORKER = {"podTemplate": {"serviceAccountName": "trainers"}}


@pytest.mark.parametrize(
    ("worker", "allowed", "refused"),
    [(WORKER, (), True), (WORKER, ("others",), True), (WORKER, ("others", "trainers"), False), (None, (), False)],
)
def test_only_accounts_of_the_list_are_used(
    make_view: Any, settings: Settings, worker: dict[str, Any] | None, allowed: tuple[str, ...], refused: bool
) -> None:
    view: View = make_view(worker=worker)
    allowing = settings.model_copy(update={"allowed_service_accounts": allowed})
    plan = decide(View(view.training, view.seen, allowing, view.now))
    assert (condition(plan, "Running") == ("False", "ServiceAccountNotAllowed")) is refused
    assert not made(plan)
    if refused:
        assert "allowedServiceAccounts" in message(plan, "Running")

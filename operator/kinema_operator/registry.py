"""The list of controllers: the one place that knows every kind's folder."""

from __future__ import annotations

import importlib
import logging
from typing import Any, Final

from kinema_operator.client import Client
from kinema_operator.controller import Controller
from kinema_operator.settings import Settings

log = logging.getLogger(__name__)

CONTROLLERS: Final = (
    ("kinema_operator.training.controller", "TrainingController"),
    ("kinema_operator.serving.controller", "ModelController"),
    ("kinema_operator.generation.controller", "GenerationController"),
)


def controllers(settings: Settings, client: Client) -> list[Controller]:
    """One controller per kind, sharing what they know of object stores."""
    stores = importlib.import_module("kinema_operator.storage").Stores(settings, client)
    made: list[Controller] = []
    for module, name in CONTROLLERS:
        factory: Any = getattr(importlib.import_module(module), name)
        made.append(factory(settings, client, stores))
    return made

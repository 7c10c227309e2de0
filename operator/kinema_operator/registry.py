"""The list of controllers: the one place that knows every kind's folder."""

from __future__ import annotations

from kinema_operator.core.controller import AnyController
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.order_keys import OrderKeys
from kinema_operator.generation.controller import GenerationController
from kinema_operator.serving.controller import ModelController
from kinema_operator.shell.client import Client
from kinema_operator.shell.storage import Stores
from kinema_operator.training.controller import TrainingController


def controllers(settings: Settings, client: Client) -> list[AnyController]:
    """One controller per kind, sharing what they know of object stores and of the key for orders."""
    stores = Stores(settings, client)
    keys = OrderKeys(settings, client)
    return [
        TrainingController(settings, client, stores),
        ModelController(settings, client, stores, keys),
        GenerationController(settings, client, stores, keys=keys),
    ]

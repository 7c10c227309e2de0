"""The list of controllers; no other module imports all kinds."""

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
    """One controller per kind, with shared object stores and order key."""
    stores = Stores(settings, client)
    keys = OrderKeys(settings, client)
    return [
        TrainingController(settings, client, stores),
        ModelController(settings, client, stores, keys),
        GenerationController(settings, client, stores, keys=keys),
    ]

"""An input of a request as it lies in a store: found, hashed, and addressed for a server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kinema_api.generation import PinnedInput
from kinema_api.objectstore import ObjectStore
from kinema_api.wire import OrderedInput

InputName = Literal["input", "end", "mask"]


@dataclass(frozen=True)
class FoundInput:
    """An object that a request is given."""

    name: InputName
    store: ObjectStore
    key: str
    bytes: int
    sha256: str | None
    etag: str = ""
    """The store's name of this version."""

    def pinned(self) -> PinnedInput:
        """As the status keeps it."""
        return PinnedInput(name=self.name, uri=self.store.uri(self.key)[:1024], etag=self.etag[:256], bytes=self.bytes)

    def ordered(self, expires: timedelta) -> OrderedInput:
        """As a server is told of it."""
        url = self.store.presign_get(self.key, expires)
        ca_bundle = self.store.location.ca_bundle
        return OrderedInput(name=self.name, url=url, bytes=self.bytes, sha256=self.sha256, ca_bundle=ca_bundle)

"""An input of a request in an object store."""

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
    """An object that is an input of a request."""

    name: InputName
    store: ObjectStore
    key: str
    bytes: int
    sha256: str | None
    etag: str = ""
    """ETag of this version."""

    def pinned(self) -> PinnedInput:
        """The input as it is recorded in the status."""
        return PinnedInput(name=self.name, uri=self.store.uri(self.key)[:1024], etag=self.etag[:256], bytes=self.bytes)

    def ordered(self, expires: timedelta) -> OrderedInput:
        """The input as it is sent to a server."""
        url = self.store.presign_get(self.key, expires)
        ca_bundle = self.store.location.ca_bundle
        return OrderedInput(name=self.name, url=url, bytes=self.bytes, sha256=self.sha256, ca_bundle=ca_bundle)

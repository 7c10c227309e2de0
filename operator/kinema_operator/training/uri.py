"""Keys in the bucket as the addresses that a status shows, and back."""

from __future__ import annotations

from kinema_api.objectstore import StoreLocation


def uri(location: StoreLocation, key: str) -> str:
    """s3://bucket/key."""
    return f"s3://{location.bucket}/{key}"


def key(location: StoreLocation, address: str | None) -> str | None:
    """The key of an address made by `uri`."""
    return address.removeprefix(uri(location, "")) if address else None

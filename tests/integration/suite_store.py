"""Buckets in the suite's MinIO, with its administrator's keys."""

from __future__ import annotations

from minio import Minio

from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.objectstores import open_store

KEYS = StoreCredentials(access_key="kinema-test", secret_key="kinema-test-secret")


def bucket(endpoint: str, name: str) -> ObjectStore:
    """The bucket, made if it is not there."""
    client = Minio(endpoint.removeprefix("http://"), KEYS.access_key, KEYS.secret_key, secure=False)
    if not client.bucket_exists(bucket_name=name):
        client.make_bucket(bucket_name=name)
    return open_store(StoreLocation(endpoint=endpoint, bucket=name), KEYS)

"""The error tree of the contract: every error says what is wrong and what to do about it.

KinemaApiError
├── InvalidManifest      a manifest does not fit the API
├── UnsafeName           a name that could lead a URL elsewhere
├── UnstructuralSchema   a type of the API cannot be written as a CRD schema
├── BrokenFolder         a config of a folder of open weights lacks a number that memory is estimated from
├── BrokenManifest       a manifest.json in the bucket is torn, unreadable or does not match its files
└── StorageError
    ├── StorageUnreachable   the object store does not respond: wait and try again
    ├── StorageDenied        the credentials are refused
    ├── StoreUnusable        not a usable object store: its address, its settings or its responses are wrong
    ├── StsMissing           the store issues no temporary keys
    ├── BucketMissing        the bucket does not exist (it may yet appear)
    ├── ObjectMissing        the object does not exist
    ├── RangeMissing         an object has fewer bytes than were asked for
    ├── ObjectTooLarge       an object, a list or a response is longer than the limit
    ├── StaleWrite           a conditional write lost against another one
    └── StoreLacksConditionalWrites  the store does not know conditional writes, or ignores their conditions
"""

from __future__ import annotations


class KinemaApiError(Exception):
    """Base of all errors of the contract. `str(error)` is one sentence with a remedy."""


class InvalidManifest(KinemaApiError):
    """A custom resource does not fit its schema; names the field and what is allowed."""


class UnsafeName(KinemaApiError):
    """A name is not safe in a URL: it has a slash, is empty, or is not an address where one is needed."""


class UnstructuralSchema(KinemaApiError):
    """A type of the API cannot be written as a structural schema; names the field and what to write instead."""


class BrokenManifest(KinemaApiError):
    """A manifest in the object store is unreadable or disagrees with the files it names."""


class BrokenFolder(KinemaApiError):
    """A config of a folder of open weights does not say how large its component is; names the field."""


class StorageError(KinemaApiError):
    """Something is wrong with the object store."""


class StorageUnreachable(StorageError):
    """The object store does not respond. Transient: nothing is lost, try again."""


class StorageDenied(StorageError):
    """The object store refuses the credentials."""


class StoreUnusable(StorageError):
    """Not a usable object store: a redirect, a web page, another region, or an invalid name."""


class StsMissing(StorageError):
    """The store has no AssumeRole of STS, so it issues no keys for one training alone."""


class BucketMissing(StorageError):
    """The bucket does not exist. It may yet appear."""


class ObjectMissing(StorageError):
    """The object does not exist."""


class RangeMissing(StorageError):
    """An object ends before the bytes that were asked for, or its store reads no ranges."""


class StaleWrite(StorageError):
    """A conditional write was refused: the object exists already, or has changed since the writer read it."""


class StoreLacksConditionalWrites(StorageError):
    """The store does not know conditional writes, or ignores their conditions."""


class ObjectTooLarge(StorageError):
    """An object, a list or a response is longer than its limit."""

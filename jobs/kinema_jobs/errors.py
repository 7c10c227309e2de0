"""The error tree of the jobs: every message says what is wrong and what to do about it.

JobError
├── FileUnusable      a file is missing or does not match its digest or size; on every server alike
│   └── ModelUnusable     the model's files do not match its digest
├── ModelTooLarge     the model's weights do not fit into memory here
├── MemoryShort       it does not fit into the memory that is free now, but may later
├── DeviceLost        the device has failed for this process
├── TransferFailed    something could not be downloaded or uploaded now; another try may succeed
├── InputChanged      an input of Preparing is no longer the version that was listed
├── CaptionerUnusable the captioning endpoint has answered nothing for long
│   └── CaptionerRefuses  it refuses every clip
├── ApiKeyUnusable    the file of an API's key holds none
├── ModelNotFound     there is no model at the given place
├── BadSettings       invalid environment variables
├── RendezvousError   errors of the rendezvous; see rendezvous/errors.py
└── TrainingFailure   errors that end an attempt of a training, by failure class; see train/failures.py
"""

from __future__ import annotations

from pathlib import Path


class JobError(Exception):
    """Base of all errors of the jobs. `str(error)` is a sentence with a remedy."""


class FileUnusable(JobError):
    """A file is missing, or does not match its digest or size."""


class ModelUnusable(FileUnusable):
    """A model's files do not match its digest."""


class ModelTooLarge(JobError):
    """A model's weights do not fit into memory here, nor on any server with the same resources."""


class MemoryShort(JobError):
    """Something does not fit into memory now; another try or another server may succeed."""


class DeviceLost(JobError):
    """The device has failed for this process; it may work for a new one."""


class TransferFailed(JobError):
    """A download or upload failed; it may succeed later or on another server."""


class InputChanged(JobError):
    """An input of Preparing is not the version any more that was listed, or is gone."""


class CaptionerUnusable(JobError):
    """The captioning endpoint has answered nothing for long."""


class CaptionerRefuses(CaptionerUnusable):
    """The captioning endpoint refuses every clip: its address, model or key is wrong."""


class ApiKeyUnusable(JobError):
    """The file of an API's key holds none; the message never shows what it holds, and `why` is a part of it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}; write the key into it, alone")
        self.why = why


class ModelNotFound(JobError):
    """There is no model at the given place."""


class BadSettings(JobError):
    """Environment variables are invalid."""

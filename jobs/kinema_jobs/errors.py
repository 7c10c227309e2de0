"""The error tree of the jobs: every message says what is wrong and what to do about it.

JobError
├── FileUnusable      a file is not there or not what was promised; another server will see the same
│   └── ModelUnusable     the model's files are not what its digest promises
├── ModelTooLarge     the model's weights do not fit into memory here
├── MemoryShort       it would fit, but not beside what is in memory at this moment
├── DeviceLost        the device of this process answers nothing any more
├── TransferFailed    something could not be fetched or uploaded now; another try may do better
├── InputChanged      an input of Preparing is not the version any more that was listed
├── CaptionerUnusable the captioning endpoint refuses every clip, or has answered nothing for long
├── ApiKeyUnusable    the file of an API's key holds none
├── ModelNotFound     no model lies where one was named
├── BadSettings       variables of the environment make no sense
├── RendezvousError   a place in a training's group; see rendezvous/errors.py
└── TrainingFailure   what ends an attempt of a training, by failure class; see train/failures.py
"""

from __future__ import annotations

from pathlib import Path


class JobError(Exception):
    """Base of all errors of the jobs. `str(error)` is a sentence with a remedy."""


class FileUnusable(JobError):
    """A file is not there, or is not what was promised."""


class ModelUnusable(FileUnusable):
    """A model's files are not what its digest promises."""


class ModelTooLarge(JobError):
    """A model's weights do not fit into memory here; a server with the same resources will see the same."""


class MemoryShort(JobError):
    """Something does not fit into memory at this moment; another try, or another server, may have room."""


class DeviceLost(JobError):
    """The device answers nothing any more in this process; a new process may find it well."""


class TransferFailed(JobError):
    """Something could not be fetched or uploaded; it may work later or elsewhere."""


class InputChanged(JobError):
    """An input of Preparing is not the version any more that was listed, or is gone."""


class CaptionerUnusable(JobError):
    """The captioning endpoint refuses every clip, or has answered nothing for long."""


class ApiKeyUnusable(JobError):
    """The file of an API's key holds none; the message never shows what it holds, and `why` is a part of it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}; write the key into it, alone")
        self.why = why


class ModelNotFound(JobError):
    """No model lies where one was named."""


class BadSettings(JobError):
    """Variables of the environment make no sense."""

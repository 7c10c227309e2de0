"""The error tree of the jobs: every message says what is wrong and what to do about it.

JobError
├── FileUnusable      a file is not there or not what was promised; another server will see the same
│   └── ModelUnusable     the model's files are not what its digest promises
├── ModelTooLarge     the model's weights do not fit into memory here
├── MemoryShort       it would fit, but not beside what is in memory at this moment
├── DeviceLost        the device of this process answers nothing any more
├── TransferFailed    something could not be fetched or uploaded now; another try may do better
├── ModelNotFound     no model lies where one was named
├── BadSettings       variables of the environment make no sense
├── RendezvousError   a place in a training's group; see rendezvous/errors.py
└── TrainingFailure   what ends an attempt of a training, by failure class; see train/failures.py
"""

from __future__ import annotations


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


class ModelNotFound(JobError):
    """No model lies where one was named."""


class BadSettings(JobError):
    """Variables of the environment make no sense."""

"""The error tree of the command. Each error has an exit code that a pipeline can act on, and says what to do.

CommandError (1)
├── BadManifest (2)          the request itself is wrong: a file, a field, an argument
├── ClusterUnreachable (3)   no cluster, no answer, no permission, or Kinema is not installed in it
│   └── Unanswered (3)           a request was sent and its answer never came, so what became of it is not known
├── TimedOut (4)             what was waited for did not come in time
├── Refused (5)              it was taken in and can never be done as it was asked
└── NotFound (1)             the named object does not exist
"""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
BAD_MANIFEST: Final = 2
UNREACHABLE: Final = 3
TIMED_OUT: Final = 4
REFUSED: Final = 5
INTERRUPTED: Final = 130

EXIT_CODES_HELP: Final = (
    "Exit codes: 0 succeeded, 1 failed, 2 wrong usage or a bad manifest, 3 cluster unreachable, 4 timed out, "
    "5 refused: it can never be done as it was asked."
)


class CommandError(Exception):
    """Base of all errors of the command; `str(error)` is one sentence with a remedy."""

    exit_code = FAILED


class BadManifest(CommandError):
    """The request itself is wrong."""

    exit_code = BAD_MANIFEST


class ClusterUnreachable(CommandError):
    """The cluster cannot be used from here."""

    exit_code = UNREACHABLE


class Unanswered(ClusterUnreachable):
    """A request was sent and its answer never came."""


class Refused(CommandError):
    """It can never be done as it was asked."""

    exit_code = REFUSED


class TimedOut(CommandError):
    """It did not happen in time."""

    exit_code = TIMED_OUT


class NotFound(CommandError):
    """The named object does not exist."""

"""The error tree of the command. Each error has an exit code that a pipeline can act on, and a remedy.

CommandError (1)
├── BadManifest (2)          the request itself is wrong: a file, a field, an argument
├── ClusterUnreachable (3)   no cluster, no response, no permission, or Kinema is not installed in it
│   └── Unanswered (3)           a request was sent but no response came, so its result is unknown
├── TimedOut (4)             the wait exceeded its timeout
├── Refused (5)              the request was accepted but cannot succeed as it is
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
    "5 refused: the request cannot succeed as it is."
)


class CommandError(Exception):
    """Base of all errors of the command; `str(error)` is one sentence with a remedy."""

    exit_code = FAILED


class BadManifest(CommandError):
    """The request itself is wrong."""

    exit_code = BAD_MANIFEST


class ClusterUnreachable(CommandError):
    """The cluster cannot be used from this machine."""

    exit_code = UNREACHABLE


class Unanswered(ClusterUnreachable):
    """A request was sent but no response came."""


class Refused(CommandError):
    """The request cannot succeed as it is."""

    exit_code = REFUSED


class TimedOut(CommandError):
    """The wait exceeded its timeout."""

    exit_code = TIMED_OUT


class NotFound(CommandError):
    """The named object does not exist."""

"""Torch's loggers with a plain format: torch's own imports its compiler before it formats an exception.

The agent logs an exception whenever a worker has lost a peer, and the import would add two seconds to a recovery.
"""

from __future__ import annotations

import logging
from typing import Final

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


def use_plain_format() -> None:
    """Give every handler of torch's loggers the format of this process; call it once torch is imported."""
    plain = logging.Formatter(LOG_FORMAT)
    for name, known in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "torch" and isinstance(known, logging.Logger):
            for handler in known.handlers:
                handler.setFormatter(plain)

"""Imported first by the fork server: makes it ignore SIGTERM.

A signal to the whole process group is meant for the agent. Without the fork server, the agent would take a worker that
still commits its last step for dead, and kill it.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)

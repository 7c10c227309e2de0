"""What the fork server imports first: from then on SIGTERM does not end it.

A signal to the whole process group is meant for the agent. With the fork server gone, the agent takes a worker that
still commits its last step for dead, and kills it.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)

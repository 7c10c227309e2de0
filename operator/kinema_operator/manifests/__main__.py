"""Entry point of `python -m kinema_operator.manifests`: see `files.py`."""

from __future__ import annotations

import sys

from kinema_operator.manifests.files import main

sys.exit(main())

"""Entry point of `python dev/cluster VERB`; puts its parent folder on the path, as `dev` is no package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from cluster.cli import main  # noqa: E402

sys.exit(main(sys.argv[1:]))

"""Entry point of `python dev/figures`; puts its parent folder on the path, as `dev` is no package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from figures.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())

"""How many examples a property test takes: a quarter of the full number, and all of them in `make soak`."""

from __future__ import annotations

import os
from typing import Final

SHARE: Final = float(os.environ.get("KINEMA_EXAMPLES", "0.25"))
"""What one run takes. Examples are drawn anew in each, so that what one run misses another finds."""
FEWEST: Final = 10


def examples(full: int) -> int:
    """`max_examples` for a test that takes so many in full."""
    return max(min(full, FEWEST), round(full * SHARE))

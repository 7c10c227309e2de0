"""How many examples a test of a property takes: a quarter of the full number, and all of them in `make soak`."""

from __future__ import annotations

import os
from typing import Final

SHARE: Final = float(os.environ.get("KINEMA_EXAMPLES", "0.25"))
"""What one run takes. Hypothesis draws others in each, so that what one run misses another finds."""
FEWEST: Final = 5


def examples(full: int) -> int:
    """`max_examples`, or the number of clips or scenes, for a test that takes so many in full."""
    return max(min(full, FEWEST), round(full * SHARE))

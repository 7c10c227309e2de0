"""What the next attempt does differently after a failure: batches to skip, an older checkpoint, nodes to exclude.

After a loss or gradient that is not finite, the next attempt repeats the same batches from the newest checkpoint. If
the failure recurs before a later step is done, its batch is skipped, and each attempt resumes from an older checkpoint
than the one before, since the weights of the newest ones may be the cause.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from kinema_api.training_status import NumericsStatus
from kinema_operator.training.failure import Failure
from kinema_operator.training.view import Status, View

MOST_SKIPPED: Final = 64
MOST_EXCLUDED: Final = 32


@dataclass(frozen=True)
class Changes:
    """Changes of the status, and a sentence about them that ends in "; ", or an empty one."""

    fields: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""


def changes_after(view: View, failure: Failure) -> Changes:
    """Changes of the status for the next attempt."""
    if failure.failure_class == "numerics":
        return _numerics(view, failure)
    if failure.failure_class == "hardware" and failure.node:
        excluded = (*(name for name in view.status.excluded_nodes if name != failure.node), failure.node)
        return Changes({"excluded_nodes": excluded[-MOST_EXCLUDED:]}, f"node {failure.node} is excluded; ")
    return Changes()


def goes_further_back(status: Status) -> bool:
    """Whether the next attempt resumes from an older checkpoint than the current one did."""
    found = status.numerics
    return found is not None and found.failures > 1 and found.attempt == status.attempt


def _numerics(view: View, failure: Failure) -> Changes:
    status = view.status
    step = failure.step if failure.step is not None else (status.progress.step if status.progress else 0) + 1
    before = status.numerics
    if before is None or step > before.step:
        fresh = NumericsStatus(step=step, failures=1, attempt=status.attempt, skipped=before.skipped if before else ())
        return Changes({"numerics": fresh})
    skipped = (*(each for each in before.skipped if each != step), step)[-MOST_SKIPPED:]
    again = NumericsStatus(step=before.step, failures=before.failures + 1, attempt=status.attempt, skipped=skipped)
    return Changes(
        {"numerics": again}, f"the batch of step {step} is skipped, and the run resumes from an older checkpoint; "
    )

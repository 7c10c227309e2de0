"""The model that a run begins with: found once, and written into the status before the first attempt starts. Pure."""

from __future__ import annotations

from kinema_operator.training.view import Status, View, change


def is_wanted(view: View) -> bool:
    """Whether the run has a base that is not in its status yet."""
    return view.spec.model.init_from is not None and (view.wants_new_run or view.status.base is None)


def resolved(view: View, status: Status) -> Status:
    """`status` with the base that was found, or with the reason why the run waits for one."""
    seen = view.seen.base
    if view.spec.model.init_from is None or status.base is not None or seen is None:
        return status
    if seen.found is not None:
        return change(status, base=seen.found)
    return view.mark(status, "Running", False, seen.reason, f"{seen.message}; the operator looks again")

"""The plan of an ended VideoGeneration: presigned URLs, deletion of files, deletion of the resource. Pure."""

from __future__ import annotations

import math
from datetime import datetime

from kinema_api import names
from kinema_api.generation import KIND, VideoGeneration
from kinema_operator.core.plan import Plan, Ref
from kinema_operator.core.settings import Settings
from kinema_operator.generation import transitions as to
from kinema_operator.generation.effects import Clean
from kinema_operator.generation.observed import Observed


class Ended:
    """The plan of an ended request."""

    def __init__(self, generation: VideoGeneration, observed: Observed, settings: Settings, now: datetime) -> None:
        self.generation = generation
        self.observed = observed
        self.settings = settings
        self.now = now
        self.status = generation.status

    def decide(self) -> Plan:
        spec, status = self.generation.spec, self.status
        kept, stays = self._left(spec.retention_seconds), self._left(spec.ttl_seconds_after_finished)
        if kept <= 0 and status.video is not None:
            return Plan(status=to.forgotten(status), requeue_after=0.0)
        if stays <= 0 and not self.observed.leftovers and (math.isinf(kept) or (kept <= 0 and status.cleaned)):
            return Plan(delete=(self._ref(),))
        if self.observed.leftovers is not None:
            return self._clean(self.observed.leftovers)
        if not self.settings.status_urls and status.video is not None and status.video.url is not None:
            return Plan(status=to.without_addresses(status), requeue_after=0.0)
        if status.phase == "Succeeded" and self.observed.addresses:
            signed = to.signed_again(status, self.observed.addresses)
            return Plan(status=signed, requeue_after=self.settings.public_url_seconds / 2)
        return self._look_again(kept, stays)

    def _look_again(self, kept: float, stays: float) -> Plan:
        wait = to.renewal_wait(self.status, self.settings, self.now)
        if self.observed.problem is not None:
            wait = min(wait, 0.0)
        # What is due but not possible yet waits for the store.
        times = [time if time > 0 else self.settings.store_probe_seconds for time in (wait, kept, stays)]
        if kept <= 0 and self.status.video is None and self.status.cleaned:
            times[1] = math.inf
        nearest = min(times)
        return Plan() if math.isinf(nearest) else Plan(requeue_after=nearest)

    def _clean(self, leftovers: tuple[str, ...]) -> Plan:
        if leftovers:
            return Plan(effects=(Clean(leftovers),), requeue_after=self.settings.store_probe_seconds)
        return Plan(status=to.change(self.status, cleaned=True), requeue_after=0.0)

    def _left(self, seconds: int | None) -> float:
        """Remaining seconds of a period that began with the end of the request; infinite for None."""
        if seconds is None or self.status.completion_time is None:
            return math.inf
        return seconds - (self.now - self.status.completion_time).total_seconds()

    def _ref(self) -> Ref:
        metadata = self.generation.metadata
        return Ref(names.API_VERSION, KIND, metadata.namespace, metadata.name, metadata.uid)

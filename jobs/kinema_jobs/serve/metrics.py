"""Prometheus metrics of a server. Labels have few values: never an order, a prompt or a digest."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_PREFIX: Final = "kinema_serving"

STEP_SECONDS: Final = Histogram(
    f"{_PREFIX}_denoising_step_seconds",
    "Seconds of one denoising step.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
GENERATIONS: Final = Counter(f"{_PREFIX}_generations_total", "Orders ended, by result.", ["result"])
MODEL_LOAD_SECONDS: Final = Histogram(
    f"{_PREFIX}_model_load_seconds",
    "Seconds of downloading, verifying and loading a model.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
ENCODE_SECONDS: Final = Histogram(
    f"{_PREFIX}_encode_seconds",
    "Seconds to encode and upload the artefacts of a clip.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
DEVICE_SECONDS: Final = Counter(
    f"{_PREFIX}_device_seconds_total", "Seconds that the device spent on orders.", ["device"]
)
BUSY: Final = Gauge(f"{_PREFIX}_busy", "1 while the server renders an order.")

for _result in ("succeeded", "failed", "cancelled"):
    GENERATIONS.labels(_result)  # so that a rate can be taken from the first order on

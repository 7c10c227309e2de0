"""The result of preparing as a status: read from pods that decode files of strangers, so nothing in it is trusted."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Final

from pydantic import ValidationError

from kinema_api.errors import InvalidManifest
from kinema_api.prepare import MAX_RESULT_BYTES, PrepareConfig, PreparedDataset, PrepareResult
from kinema_api.training_status import DatasetStatus
from kinema_api.wire import MAX_COUNT

_FOLDER: Final = r"[0-9a-z][0-9a-z-]{0,127}/[0-9a-z][0-9a-z-]{0,127}/"
_LONGEST_SECONDS: Final = 1e12
_REMEDY: Final = "set a new runId, so that the clips are prepared again"


def dataset_status(config: PrepareConfig, data: bytes, report_uri: str) -> DatasetStatus:
    """The status of a run whose prepared.json holds `data`; `report_uri` is where its report page lies.

    Raises:
        InvalidManifest: it is not the result of preparing the folders of `config`, in their order.
    """
    if len(data) > MAX_RESULT_BYTES:
        raise InvalidManifest(f"{config.result} has more than {MAX_RESULT_BYTES} bytes: {_REMEDY}")
    try:
        found = PrepareResult.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise InvalidManifest(f"{config.result} is no result ({where}: {first['msg']}): {_REMEDY}") from None
    if [made.uri for made in found.datasets] != [clips.uri for clips in config.videos]:
        raise InvalidManifest(f"{config.result} does not have one dataset for each folder of data.videos: {_REMEDY}")
    for made in found.datasets:
        _require_sound(config, made)
    return DatasetStatus(
        digest=digest_of(found.datasets),
        samples=sum(made.samples for made in found.datasets),
        seconds=round(sum(made.seconds for made in found.datasets), 1),
        report_uri=report_uri,
        datasets=tuple(made.model_copy(update={"seconds": round(made.seconds, 1)}) for made in found.datasets),
    )


def digest_of(datasets: tuple[PreparedDataset, ...]) -> str:
    """A digest over several datasets: that of the only one, else of all digests in order."""
    if len(datasets) == 1:
        return datasets[0].digest
    return "sha256:" + hashlib.sha256("\n".join(made.digest for made in datasets).encode()).hexdigest()


def _require_sound(config: PrepareConfig, made: PreparedDataset) -> None:
    if not re.fullmatch(re.escape(config.datasets) + _FOLDER, made.prefix):
        raise InvalidManifest(f"{config.result} names a dataset that is not below {config.datasets}: {_REMEDY}")
    counts = (made.samples, made.inputs, made.bytes, *made.dropped.values())
    if (
        not made.samples
        or max(counts) > MAX_COUNT
        or not math.isfinite(made.seconds)
        or made.seconds > _LONGEST_SECONDS
    ):
        raise InvalidManifest(f"{config.result} has counts for {made.uri} that cannot be right: {_REMEDY}")

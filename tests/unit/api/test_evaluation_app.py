"""How an evaluator is started: an image of an older version understands it, and datasets come with their cache."""

from __future__ import annotations

import json

import pytest

from kinema_api import launch
from kinema_api.evaluation import Evaluation
from kinema_api.launch import ENV_DATASET_CACHE, Site
from kinema_api.prepare import RunDataset
from kinema_api.run import EvaluationConfig

SITE = Site(
    "store", 1, "http://minio:9000", "kinema", "us-east-1", "/keys", 2, "/p", "/log", "image", dataset_cache_bytes=7
)
DATASET = RunDataset(prefix="datasets/team/clips/", digest="sha256:" + "0" * 64, weight=1)


@pytest.mark.parametrize("datasets", [(), (DATASET,)])
def test_datasets_are_told_where_there_are_some(datasets: tuple[RunDataset, ...]) -> None:
    config = EvaluationConfig(
        namespace="team",
        name="trial",
        uid="u",
        run=1,
        attempt=1,
        model_digest="sha256:0",
        evaluation=Evaluation(),
        datasets=datasets,
    )
    (role,) = launch.evaluation_app(config, SITE).roles
    payload = role.args[role.args.index("--config") + 1]
    # An evaluator of a version without datasets refuses fields that it does not know.
    assert ("datasets" in json.loads(payload)) is bool(datasets)
    assert role.env.get(ENV_DATASET_CACHE) == ("7" if datasets else None)
    assert EvaluationConfig.model_validate_json(payload) == config

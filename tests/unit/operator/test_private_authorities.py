"""Which authorities a store is opened with, and that a renewed certificate strands nothing that was accepted before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kinema_api.base import ArtifactStore
from kinema_api.errors import InvalidManifest
from kinema_api.generation import VideoGeneration
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.serving import VideoModel
from kinema_api.training import VideoModelTraining
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.generation.stores import clip_store, weights_store
from kinema_operator.training.objects.secret import expiry, storage_secret


def pem(body: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


OLD, NEW, OTHER = pem("MIIB"), pem("MIIC"), pem("MIID")
STORE: dict[str, Any] = {"endpoint": "https://minio:9000", "bucket": "kinema", "secretRef": {"name": "keys"}}


def accepted(spec_store: dict[str, Any] | None, weights: dict[str, Any], clips: dict[str, Any]) -> VideoGeneration:
    """A request whose stores were fixed when it was accepted."""
    spec = {"modelRef": {"name": "tiny"}, "prompt": "a red square", "artifactStore": spec_store}
    stores = {"weights": weights, "clips": clips}
    return VideoGeneration.parse({"metadata": {"name": "clip", "uid": "u"}, "spec": spec, "status": {"stores": stores}})


def model(store: dict[str, Any] | None) -> VideoModel:
    spec = {"source": {"training": "tiny"}, "artifactStore": store}
    return VideoModel.parse({"metadata": {"name": "tiny"}, "spec": spec})


def bundle(store: ArtifactStore | None) -> str | None:
    assert store is not None
    return store.ca_bundle


def test_a_request_in_hand_follows_the_renewed_authority_of_its_store() -> None:
    own = {**STORE, "bucket": "clips"}
    request = accepted({**own, "caBundle": NEW}, {**STORE, "caBundle": OLD}, {**own, "caBundle": OLD})
    assert bundle(clip_store(request, None)) == NEW
    assert bundle(weights_store(request, model({**STORE, "caBundle": OTHER}))) == OTHER
    of_model = accepted(None, {**STORE, "caBundle": OLD}, {**STORE, "caBundle": OLD})
    assert bundle(clip_store(of_model, model({**STORE, "caBundle": NEW}))) == NEW


def test_where_a_request_was_accepted_counts_though_its_model_has_moved() -> None:
    request = accepted(None, {**STORE, "caBundle": OLD}, {**STORE, "caBundle": OLD})
    for now in (None, model({**STORE, "endpoint": "https://elsewhere:9000", "caBundle": NEW}), model(None)):
        for store in (weights_store(request, now), clip_store(request, now)):
            assert store == ArtifactStore.parse({**STORE, "caBundle": OLD})


def test_the_operators_authority_counts_at_its_own_endpoint_alone() -> None:
    settings = Settings(store_endpoint="https://minio:9000", store_ca_bundle=OLD)
    elsewhere = {**STORE, "endpoint": "https://elsewhere:9000"}
    assert store_location(None, settings).ca_bundle == OLD
    assert store_location(ArtifactStore.parse(STORE), settings).ca_bundle == OLD
    assert store_location(ArtifactStore.parse({**STORE, "caBundle": NEW}), settings).ca_bundle == NEW
    assert store_location(ArtifactStore.parse(elsewhere), settings).ca_bundle is None


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"KINEMA_STORE_CA_BUNDLE": "/etc/ssl/ca.crt"}, "PEM text of certificates"),
        ({"KINEMA_STORE_CA_BUNDLE": OLD, "KINEMA_STORE_ENDPOINT": "http://minio:9000"}, "KINEMA_STORE_ENDPOINT"),
    ],
)
def test_an_operator_with_an_authority_that_is_none_does_not_start(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=words):
        Settings()


def test_a_manifest_is_checked_without_a_cluster_too() -> None:
    with pytest.raises(InvalidManifest, match="needs an endpoint with https://"):
        ArtifactStore.parse({**STORE, "endpoint": "http://minio:9000", "caBundle": OLD})
    with pytest.raises(InvalidManifest, match="only certificates"):
        ArtifactStore.parse({**STORE, "caBundle": OLD + "-----BEGIN PRIVATE KEY-----"})


def test_a_secret_with_other_authorities_is_made_anew() -> None:
    training = VideoModelTraining.parse(
        {
            "metadata": {"name": "tiny", "uid": "u"},
            "spec": {"model": {"preset": "tiny"}, "data": {"world": {"seed": 1}}, "optimization": {"steps": 1}},
        }
    )
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    keys = StoreCredentials(access_key="a", secret_key="s", expires=ends.timestamp())

    def at(ca_bundle: str | None) -> StoreLocation:
        return StoreLocation(endpoint="https://minio:9000", bucket="kinema", ca_bundle=ca_bundle)

    for made in (None, OLD, NEW):
        secret = storage_secret(training, at(made), keys)
        assert ("ca.crt" in secret["data"]) is (made is not None)
        for now in (None, OLD, NEW):
            assert expiry(secret, training, at(now)) == (ends if now == made else None)

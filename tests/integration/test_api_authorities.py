"""Authorities of object stores: what is none is refused at admission, and they may change while all else is fixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.pki import Pki
from integration.kinds import GENERATION, MODEL, TRAINING
from integration.kubectl import Kubectl, changed

pytestmark = pytest.mark.apiserver

KINDS = {"training": TRAINING, "model": MODEL, "generation": GENERATION}
STORE: dict[str, Any] = {"endpoint": "https://minio:9000", "bucket": "kinema", "secretRef": {"name": "keys"}}
NO_PEM = "a caBundle is PEM text of certificates"
KEY_INSIDE = "a caBundle holds only certificates"
WITHOUT_TLS = "caBundle needs an endpoint with https://"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(tmp_path_factory.mktemp("pki"))
    made.ensure_authority()
    made.ensure_authority("next")
    return made


def pem(pki: Pki, name: str = "ca") -> str:
    return pki.certificate(name).read_text()


def spoilt(pki: Pki) -> list[tuple[dict[str, Any], str]]:
    good = pem(pki)
    return [
        ({"caBundle": ""}, NO_PEM),
        ({"caBundle": "/etc/ssl/ca.crt"}, NO_PEM),
        ({"caBundle": good.replace("-----END CERTIFICATE-----", "")}, NO_PEM),
        ({"caBundle": good.encode().hex()}, NO_PEM),
        ({"caBundle": good + "Größe"}, NO_PEM),
        ({"caBundle": good + Path(pki.key("ca")).read_text()}, KEY_INSIDE),
        ({"caBundle": good, "endpoint": "http://minio:9000"}, WITHOUT_TLS),
        ({"caBundle": good * (1 + (64 << 10) // len(good))}, "65536"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_authority_is_refused_with_a_sentence(kind: str, pki: Pki, kubectl: Kubectl) -> None:
    for given, sentence in spoilt(pki):
        answer = kubectl.apply(changed(KINDS[kind], "spec.artifactStore", STORE | given), "--dry-run=server")
        assert answer.code != 0, given
        assert sentence in answer.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_is_taken_as_systems_write_it_and_may_change(kind: str, pki: Pki, kubectl: Kubectl) -> None:
    commented = f"# Issued for the store - 2026\n{pem(pki)}\nNext one:\n=========\n{pem(pki, 'next')}"
    for bundle in (None, pem(pki), commented, commented.replace("\n", "\r\n"), pem(pki, "next").strip(), None):
        answer = kubectl.apply(
            changed(KINDS[kind], "spec.artifactStore", STORE | ({"caBundle": bundle} if bundle else {}))
        )
        assert answer.code == 0, answer.err


@pytest.mark.parametrize("kind", ["training", "generation"])
def test_all_else_of_a_store_stays_fixed(kind: str, pki: Pki, kubectl: Kubectl) -> None:
    given = {**STORE, "caBundle": pem(pki), "publicEndpoint": "https://s3.example.com"}
    assert kubectl.apply(changed(KINDS[kind], "spec.artifactStore", given)).code == 0
    for field, value in (
        ("endpoint", "https://elsewhere:9000"),
        ("bucket", "another"),
        ("region", "eu-1"),
        ("secretRef", {"name": "others"}),
        ("publicEndpoint", "https://other.example.com"),
        ("publicEndpoint", None),
    ):
        changing = changed({"spec": given}, f"spec.{field}", value)["spec"] | {"caBundle": pem(pki, "next")}
        answer = kubectl.apply(changed(KINDS[kind], "spec.artifactStore", changing))
        assert answer.code != 0, field
        assert "its caBundle" in answer.err
    assert kubectl.apply(changed(KINDS[kind], "spec.artifactStore", None)).code != 0

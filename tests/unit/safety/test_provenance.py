"""A signed clip says what it is to every reader, a changed byte is seen by ours and by one written from the standards
alone."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_jobs.clip.media import write_mp4
from kinema_safety.errors import FileUnreadable, SigningFailed
from kinema_safety.provenance.chain import SigningChain, load
from kinema_safety.provenance.claim import Claim, Input
from kinema_safety.provenance.reading import Provenance, examine
from kinema_safety.provenance.signing import sign
from kinema_safety.provenance.trial import trial_chain
from unit.safety.c2pa_by_hand import C2PA_UUID, EXCLUDED, boxes, manifest_store, taken_apart

NOW = datetime.now(UTC)
TRIAL, OTHER = trial_chain("Studio", NOW), trial_chain("Elsewhere", NOW)
MIME = "video/mp4"
CLAIM = Claim("video.mp4", "sha256:" + "5" * 64, datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), "0.1.0", 0xAB_CDEF_0123)
PROMPT = "a fox that nobody else shall read about"


@pytest.fixture(scope="module")
def chain() -> SigningChain:
    return load(TRIAL.certificates, TRIAL.key, NOW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, chain: SigningChain) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, seed in (("plain", 0), ("other", 1)):
        video = np.random.default_rng(seed).integers(0, 256, (6, 64, 64, 3), np.uint8)
        write_mp4(video, 12, folder / f"{name}.mp4")
    sign(folder / "plain.mp4", folder / "signed.mp4", CLAIM, chain)
    return folder


def test_a_signed_clip_says_what_it_is(folder: Path) -> None:
    assert examine(folder / "signed.mp4", MIME, TRIAL.root) == Provenance(
        "intact",
        trusted=True,
        signer="Studio",
        made_by_ai=True,
        model_digest=CLAIM.model_digest,
        made_at="2026-02-03T04:05:06Z",
        agent="Kinema",
        watermark_id=0xAB_CDEF_0123,
    )


@pytest.mark.parametrize("anchors", [b"", OTHER.root], ids=["none", "another's"])
def test_without_our_anchor_it_is_intact_but_not_trusted(folder: Path, anchors: bytes) -> None:
    found = examine(folder / "signed.mp4", MIME, anchors)
    assert (found.state, found.trusted, found.problems) == ("intact", False, ("signingCredential.untrusted",))


def test_a_reader_written_by_hand_agrees(folder: Path) -> None:
    file = (folder / "signed.mp4").read_bytes()
    found = taken_apart(file)
    assert found.hashes_match()
    assert found.signature_valid(x509.load_pem_x509_certificate(TRIAL.root))
    assert not found.signature_valid(x509.load_pem_x509_certificate(OTHER.root))
    assert found.binds(file)
    (action,) = found.data("c2pa.actions.v2")["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert action["softwareAgent"] == {"name": "Kinema", "version": "0.1.0"}
    assert found.data("c2pa.soft-binding")["blocks"][0]["value"] == "abcdef0123"


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_is_seen_by_both(folder: Path, tmp_path: Path, place: float, bit: int) -> None:
    """Anywhere but in boxes that the standard leaves out, and in the manifest itself."""
    file = bytearray((folder / "signed.mp4").read_bytes())
    bound = [
        at
        for box in boxes(bytes(file))
        if box.kind not in EXCLUDED and not box.content.startswith(C2PA_UUID)
        for at in range(box.end - len(box.content), box.end)
    ]
    file[bound[int(place * len(bound))]] ^= 1 << bit
    (tmp_path / "changed.mp4").write_bytes(file)
    with suppress(FileUnreadable):  # the length of a box was changed
        found = examine(tmp_path / "changed.mp4", MIME, TRIAL.root)
        assert found == Provenance("changed", problems=("assertion.bmffHash.mismatch",))
    assert not taken_apart(bytes(file)).binds(bytes(file))


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_changed_manifest_is_never_intact_with_other_content(folder: Path, tmp_path: Path, place: float) -> None:
    file = bytearray((folder / "signed.mp4").read_bytes())
    store = file.index(manifest_store(bytes(file)).content)
    file[store + int(place * len(manifest_store(bytes(file)).content))] ^= 0x55
    (tmp_path / "changed.mp4").write_bytes(file)
    found = examine(tmp_path / "changed.mp4", MIME, TRIAL.root)
    assert found.state != "intact" or found == examine(folder / "signed.mp4", MIME, TRIAL.root)


def test_a_manifest_of_another_file_does_not_hold(folder: Path, tmp_path: Path) -> None:
    signed, other = ((folder / f"{name}.mp4").read_bytes() for name in ("signed", "other"))
    (stolen,) = (signed[box.start : box.end] for box in boxes(signed) if box.content.startswith(C2PA_UUID))
    (head, *rest) = boxes(other)
    (tmp_path / "mixed.mp4").write_bytes(
        other[: head.end] + stolen + b"".join(other[box.start : box.end] for box in rest)
    )
    found = examine(tmp_path / "mixed.mp4", MIME, TRIAL.root)
    assert (found.state, found.model_digest) == ("changed", None)
    assert "assertion.bmffHash.mismatch" in found.problems


def test_a_clip_without_a_manifest_is_unsigned(folder: Path) -> None:
    assert examine(folder / "plain.mp4", MIME, TRIAL.root) == Provenance("unsigned")


@pytest.mark.parametrize("content", [b"", b"junk" * 50, b"\0\0\0\x18ftypmp42"], ids=["empty", "junk", "cut off"])
def test_what_is_no_file_of_its_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(FileUnreadable, match=r"x\.mp4: it cannot be taken apart; give"):
        examine(tmp_path / "x.mp4", MIME)


def test_a_webm_has_no_place_for_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "x.webm").write_bytes(b"\x1a\x45\xdf\xa3")
    assert examine(tmp_path / "x.webm", "video/webm") == Provenance("unsigned")


def test_a_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable, match=r"none\.mp4: it cannot be read"):
        examine(tmp_path / "none.mp4", MIME)


def test_the_prompt_stands_in_the_file_only_if_asked(folder: Path, tmp_path: Path, chain: SigningChain) -> None:
    assert PROMPT.encode() not in (folder / "signed.mp4").read_bytes()
    sign(folder / "plain.mp4", tmp_path / "asked.mp4", replace(CLAIM, prompt=PROMPT), chain)
    assert examine(tmp_path / "asked.mp4", MIME, TRIAL.root).prompt == PROMPT


def broken(file: bytes) -> bytes:
    at = file.index(b"jumb") + 40
    return file[:at] + b"\xff" * 400 + file[at + 400 :]


def changed(file: bytes) -> bytes:
    return file[:-50] + bytes([file[-50] ^ 1]) + file[-49:]


@pytest.mark.parametrize(
    ("source", "change", "signed", "problem"),
    [
        ("signed", bytes, True, "signingCredential.untrusted"),
        ("plain", bytes, False, None),
        ("signed", changed, True, "assertion.bmffHash.mismatch"),
        ("signed", broken, False, None),
    ],
    ids=["signed", "unsigned", "changed", "broken manifest"],
)
def test_an_input_keeps_what_it_brought_along(
    folder: Path, tmp_path: Path, chain: SigningChain, source: str, change: type, signed: bool, problem: str | None
) -> None:
    given_file = tmp_path / "input.mp4"
    given_file.write_bytes(change((folder / f"{source}.mp4").read_bytes()))
    claim = replace(CLAIM, inputs=(Input("input", given_file, MIME),))
    sign(folder / "other.mp4", tmp_path / "made.mp4", claim, chain)
    found = examine(tmp_path / "made.mp4", MIME, TRIAL.root)
    assert (found.state, found.trusted) == ("intact", True)
    (one,) = found.inputs
    assert (one.name, one.signed) == ("input", signed)
    assert (problem in one.problems) if problem else not one.problems


def test_an_input_that_cannot_be_taken_apart_is_named(folder: Path, tmp_path: Path, chain: SigningChain) -> None:
    (tmp_path / "junk.png").write_bytes(b"junk")
    inputs = (Input("mask", tmp_path / "junk.png", "image/png"), Input("input", folder / "plain.mp4", MIME))
    sign(folder / "other.mp4", tmp_path / "made.mp4", replace(CLAIM, inputs=inputs), chain)
    file = (tmp_path / "made.mp4").read_bytes()
    assert [one.name for one in examine(tmp_path / "made.mp4", MIME, TRIAL.root).inputs] == ["input"]
    assert taken_apart(file).data("org.kinema.generation")["inputsWithoutIngredient"] == ["mask"]


def test_a_clip_is_not_signed_in_place(folder: Path, chain: SigningChain) -> None:
    before = hashlib.sha256((folder / "plain.mp4").read_bytes()).digest()
    with pytest.raises(SigningFailed, match="not signed in place"):
        sign(folder / "plain.mp4", folder / "plain.mp4", CLAIM, chain)
    assert hashlib.sha256((folder / "plain.mp4").read_bytes()).digest() == before


@pytest.mark.parametrize("tsa_url", [None, "http://127.0.0.1:9/"])
def test_what_is_not_signed_leaves_nothing(
    tmp_path: Path, folder: Path, chain: SigningChain, tsa_url: str | None
) -> None:
    source = tmp_path / "junk.mp4" if tsa_url is None else folder / "plain.mp4"
    (tmp_path / "junk.mp4").write_bytes(b"junk")
    with pytest.raises(SigningFailed, match=r"\.mp4: it was not signed"):
        sign(source, tmp_path / "target.mp4", CLAIM, chain, tsa_url)
    assert not (tmp_path / "target.mp4").exists()

"""Reads provenance without c2pa-python: boxes of MP4 (ISO/IEC 14496-12), JUMBF (ISO/IEC 19566-5), CBOR, COSE_Sign1
(RFC 9052).

It knows what Kinema writes: one manifest on top, ES256, and the hard binding `c2pa.hash.bmff.v3` of the C2PA
specification 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
X5CHAIN = 33
EXCLUDED = (b"ftyp", b"mfra", b"free", b"skip")


@dataclass(frozen=True)
class Box:
    """A box of ISO or JUMBF: its place in the bytes, its type and its content."""

    start: int
    end: int
    kind: bytes
    content: bytes


def boxes(data: bytes, start: int = 0) -> Iterator[Box]:
    """The boxes one after another."""
    while start + 8 <= len(data):
        size, header = int.from_bytes(data[start : start + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        end = start + size if size else len(data)
        yield Box(start, end, data[start + 4 : start + 8], data[start + header : end])
        start = end


def manifest_store(file: bytes) -> Box:
    """The JUMBF superbox in the C2PA box of an MP4."""
    for box in boxes(file):
        if box.kind == b"uuid" and box.content.startswith(C2PA_UUID):
            # 16 bytes of UUID, version and flags, the purpose ending in 0, and the offset of a Merkle tree.
            purpose_end = box.content.index(b"\0", 20) + 1
            return next(boxes(box.content[purpose_end + 8 :]))
    raise AssertionError("no C2PA box")


def label(superbox: Box) -> str:
    """The label in the description box, the first of a superbox."""
    description = next(boxes(superbox.content))
    return description.content[17 : description.content.index(b"\0", 17)].decode()


def children(superbox: Box) -> list[Box]:
    """What follows the description."""
    return list(boxes(superbox.content))[1:]


@dataclass(frozen=True)
class ByHand:
    """The active manifest, taken apart."""

    claim: bytes
    signature: Any
    assertions: dict[str, Box]

    def hashes_match(self) -> bool:
        """Whether every assertion is the one that the claim names."""
        claim = cbor2.loads(self.claim)
        named = [*claim["created_assertions"], *claim.get("gathered_assertions", [])]
        found = {one["url"].rsplit("/", 1)[1]: one["hash"] for one in named}
        return found.keys() == self.assertions.keys() and all(
            hashlib.sha256(box.content).digest() == found[name] for name, box in self.assertions.items()
        )

    def signature_valid(self, anchor: x509.Certificate) -> bool:
        """Whether the claim was signed by a certificate below the anchor."""
        protected, _, payload, signature = self.signature
        assert payload is None
        certificates = [x509.load_der_x509_certificate(der) for der in cbor2.loads(protected)[X5CHAIN]]
        key = certificates[0].public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
        signed = cbor2.dumps(["Signature1", protected, b"", self.claim])
        try:
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
            certificates[0].verify_directly_issued_by(anchor)
        except (InvalidSignature, ValueError):
            return False
        return True

    def binds(self, file: bytes) -> bool:
        """Whether the hard binding's hash is that of the file: of each box that counts, its offset and its bytes."""
        binding = cbor2.loads(children(self.assertions["c2pa.hash.bmff.v3"])[0].content)
        digest = hashlib.sha256()
        for box in boxes(file):
            if box.kind in EXCLUDED or (box.kind == b"uuid" and box.content.startswith(C2PA_UUID)):
                continue
            digest.update(box.start.to_bytes(8, "big") + file[box.start : box.end])
        return bool(digest.digest() == binding["hash"])

    def data(self, name: str) -> Any:
        """The content of an assertion."""
        return cbor2.loads(children(self.assertions[name])[0].content)


def taken_apart(file: bytes) -> ByHand:
    """The active manifest, which is the last one of the store."""
    parts = {label(box): box for box in children(children(manifest_store(file))[-1])}
    claim = children(parts["c2pa.claim.v2"])[0].content
    signature = cbor2.loads(children(parts["c2pa.signature"])[0].content)
    assertions = {label(box): box for box in children(parts["c2pa.assertions"])}
    return ByHand(claim, getattr(signature, "value", signature), assertions)

"""The certificates that sign clips, checked before anything is signed with them.

A reader refuses a signature whose certificates are wrong, but by then the clip is out; and c2pa-python says little
about why. So what C2PA asks of them (specification 2.1, 14.5) is checked when they are loaded, each fault with a
sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from kinema_safety.errors import ChainRefused

Algorithm = Literal["es256", "es384", "es512", "ps256", "ed25519"]

CLAIM_SIGNING: Final = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
DOCUMENT_SIGNING: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")
PURPOSES: Final = (CLAIM_SIGNING, DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION)
"""Extended key usages of which readers accept any."""
MIN_RSA_BITS: Final = 2048
_CURVES: Final[dict[int, Algorithm]] = {256: "es256", 384: "es384", 521: "es512"}

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class SigningChain:
    """Certificates that fit together, the signer's first, with its private key."""

    certificates: tuple[x509.Certificate, ...]
    key: PrivateKey
    algorithm: Algorithm

    @property
    def expires(self) -> datetime:
        """When the first of the certificates expires, in UTC: what a metric shows and an alert watches."""
        return min(certificate.not_valid_after_utc for certificate in self.certificates)

    def seconds_left(self, now: datetime) -> float:
        """Seconds until it expires, below 0 afterwards."""
        return (self.expires - now).total_seconds()

    def certificates_pem(self) -> bytes:
        """All certificates, the signer's first."""
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.certificates)

    def key_pem(self) -> bytes:
        """The private key, PKCS #8 without a password."""
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def load(certificates_pem: bytes, key_pem: bytes, now: datetime) -> SigningChain:
    """The chain in these files: certificates from the signer's upwards (the root may be absent), and the signer's key.

    Raises `ChainRefused` with what is wrong; nothing of the key is in the message.
    """
    certificates = certificates_in(certificates_pem, "tls.crt")
    key = _key(key_pem)
    _check_leaf(certificates[0])
    if key.public_key() != certificates[0].public_key():
        raise ChainRefused("tls.key: the key does not fit the first certificate; give the key that it was issued for.")
    for lower, upper in pairwise(certificates):
        _check_link(lower, upper)
    for number, certificate in enumerate(certificates, 1):
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            valid = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
            raise ChainRefused(f"tls.crt: certificate {number} is valid from {valid}; renew it.")
    return SigningChain(certificates, key, _algorithm(key))


def certificates_in(pem: bytes, field: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a file, at least one. Raises `ChainRefused`; `field` names the file."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise ChainRefused(f"{field}: no certificates in PEM are in it; give BEGIN CERTIFICATE blocks.") from None


def _key(pem: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise ChainRefused("tls.key: the key has a password; give it without one.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ChainRefused("tls.key: no private key in PEM is in it; give a PKCS #8 key.") from None
    if not isinstance(key, PrivateKey):
        raise ChainRefused("tls.key: keys of this kind do not sign clips; use ECDSA P-256, RSA or Ed25519.")
    return key


def _check_leaf(leaf: x509.Certificate) -> None:
    if leaf.issuer == leaf.subject:
        raise ChainRefused(
            "tls.crt: the first certificate is self-signed, which readers refuse; "
            "have it issued by an authority of its own."
        )
    if _is_authority(leaf):
        raise ChainRefused("tls.crt: the first certificate is an authority's; put the signer's first.")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise ChainRefused("tls.crt: the first certificate lacks the key usage digitalSignature; have it added.")
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None or not set(purposes).intersection(PURPOSES):
        raise ChainRefused(
            "tls.crt: the first certificate is not for signing claims; have it issued with the extended key usage "
            f"{CLAIM_SIGNING.dotted_string}, documentSigning or emailProtection."
        )


def _check_link(lower: x509.Certificate, upper: x509.Certificate) -> None:
    try:
        lower.verify_directly_issued_by(upper)
        issued = _is_authority(upper)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        issued = False
    if not issued:
        raise ChainRefused(
            "tls.crt: a certificate was not issued by the one that follows it; order them from signer to root."
        )


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _algorithm(key: PrivateKey) -> Algorithm:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise ChainRefused(f"tls.key: {key.key_size} bits of RSA are too few; use at least {MIN_RSA_BITS}.")
        return "ps256"
    if key.curve.key_size not in _CURVES or not key.curve.name.startswith("secp"):
        raise ChainRefused(f"tls.key: the curve {key.curve.name} does not sign clips; use P-256.")
    return _CURVES[key.curve.key_size]

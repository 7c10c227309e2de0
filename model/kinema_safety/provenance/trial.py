"""A signing chain for those who have none yet: it proves that a clip was not changed, and to strangers nothing about
who made it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinema_safety.provenance.chain import CLAIM_SIGNING

DAYS: Final = 365
BACKDATED: Final = timedelta(minutes=5)
"""Clocks of readers may be behind."""


@dataclass(frozen=True)
class TrialChain:
    """The files of a trial chain, all PEM. The root's key is thrown away, so nothing else is ever issued by it."""

    root: bytes
    """What readers are given as the anchor that they trust."""
    certificates: bytes
    """The signer's certificate and the root's."""
    key: bytes


def trial_chain(organisation: str, now: datetime, days: int = DAYS) -> TrialChain:
    """A root and a signer below it with keys on P-256, valid for so many days from `now`."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = (_name(organisation, title) for title in ("Trial root of clips", "Trial signer of clips"))
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _certificate(root_name, root_name, root_key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    purposes = x509.ExtendedKeyUsage([CLAIM_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = (
        _certificate(name, root_name, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    root_pem, leaf_pem = (each.public_bytes(serialization.Encoding.PEM) for each in (root, leaf))
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return TrialChain(root_pem, leaf_pem + root_pem, secret)


def _name(organisation: str, title: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, title))
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """digitalSignature for a signer, keyCertSign and cRLSign for an authority."""
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=not signs,
        crl_sign=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

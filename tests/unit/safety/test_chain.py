"""A chain that readers would refuse is refused before a clip is signed with it, with a sentence that quotes no key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinema_safety.errors import ChainRefused
from kinema_safety.provenance.chain import load
from kinema_safety.provenance.trial import trial_chain

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TRIAL, OTHER = trial_chain("One", NOW), trial_chain("Two", NOW)
END = b"-----END CERTIFICATE-----\n"
LEAF, ROOT = (part + END for part in TRIAL.certificates.split(END)[:2])
P256 = ec.generate_private_key(ec.SECP256R1())


def pem(key: serialization.PrivateFormat | object, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)  # type: ignore[union-attr]


def issued(key: object, *, digital_signature: bool = True, purpose: x509.ObjectIdentifier | None = None) -> bytes:
    """A certificate of another's name and key, with these usages and no real issuer."""
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("signer", "issuer"))
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())  # type: ignore[attr-defined]
    made = made.serial_number(7).not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
    usage = x509.KeyUsage(digital_signature, False, True, False, False, False, False, False, False)
    made = made.add_extension(usage, critical=True)
    if purpose is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


MAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION
WEAK = rsa.generate_private_key(65537, 1024)


def test_a_trial_chain_is_taken_with_and_without_its_root() -> None:
    chain = load(TRIAL.certificates, TRIAL.key, NOW)
    assert chain.algorithm == "es256"
    assert load(LEAF, TRIAL.key, NOW).certificates == chain.certificates[:1]
    assert chain.expires == NOW + timedelta(days=365)
    assert chain.seconds_left(NOW + timedelta(days=364)) == 86_400
    assert chain.seconds_left(NOW + timedelta(days=366)) < 0


@pytest.mark.parametrize(
    ("certificates", "key", "why"),
    [
        (ROOT, TRIAL.key, "tls.crt: the first certificate is self-signed"),
        (ROOT + LEAF, TRIAL.key, "tls.crt: the first certificate is self-signed"),
        (LEAF, OTHER.key, "tls.key: the key does not fit the first certificate"),
        (LEAF + OTHER.root, TRIAL.key, "tls.crt: a certificate was not issued by the one that follows it"),
        (LEAF + LEAF, TRIAL.key, "tls.crt: a certificate was not issued by the one that follows it"),
        (b"", TRIAL.key, "tls.crt: no certificates in PEM"),
        (TRIAL.key, TRIAL.key, "tls.crt: no certificates in PEM"),
        (LEAF, b"", "tls.key: no private key in PEM"),
        (LEAF, LEAF, "tls.key: no private key in PEM"),
        (LEAF, pem(P256, b"secret"), "tls.key: the key has a password"),
        (LEAF, pem(x25519.X25519PrivateKey.generate()), "tls.key: keys of this kind do not sign"),
        (issued(P256, digital_signature=False, purpose=MAIL), pem(P256), "lacks the key usage digitalSignature"),
        (issued(P256), pem(P256), "not for signing claims"),
        (issued(P256, purpose=ExtendedKeyUsageOID.SERVER_AUTH), pem(P256), "not for signing claims"),
        (issued(WEAK, purpose=MAIL), pem(WEAK), "tls.key: 1024 bits of RSA are too few"),
    ],
)
def test_a_chain_that_readers_would_refuse(certificates: bytes, key: bytes, why: str) -> None:
    with pytest.raises(ChainRefused, match=why) as refused:
        load(certificates, key, NOW)
    assert "PRIVATE" not in str(refused.value)
    assert ";" in str(refused.value)


@pytest.mark.parametrize("days", [-1, 365])
def test_a_certificate_outside_its_time_is_refused(days: int) -> None:
    with pytest.raises(ChainRefused, match="certificate 1 is valid from 2026-02-28 to 2027-03-01; renew it"):
        load(TRIAL.certificates, TRIAL.key, NOW + timedelta(days=days))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "ps256"),
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ec.generate_private_key(ec.SECP521R1()), "es512"),
    ],
    ids=["RSA", "P-384", "P-521"],
)
def test_the_algorithm_follows_the_key(key: object, algorithm: str) -> None:
    assert load(issued(key, purpose=MAIL), pem(key), NOW).algorithm == algorithm

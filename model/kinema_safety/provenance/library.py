"""What is set of c2pa-python, once for signing and reading: it fetches nothing by itself and trusts what it is told to
trust."""

from __future__ import annotations

import json

import c2pa


def context(anchors_pem: bytes = b"") -> c2pa.Context:
    """A context that trusts signers below these anchors, beside no others.

    Manifests elsewhere and revocation lists, whose addresses stand in the file that is read, are not fetched.
    """
    settings = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": True},
        "builder": {"thumbnail": {"enabled": False}},
        "trust": {"user_anchors": anchors_pem.decode()} if anchors_pem else {},
    }
    return c2pa.Context(c2pa.Settings.from_json(json.dumps(settings)))

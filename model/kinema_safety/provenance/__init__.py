"""Signed statements about where a clip is from, by the standard of C2PA: made, read, and judged.

The bytes of manifests and signatures are c2pa-python's; what stands here is which statements a clip gets (`claim`),
which signers are taken (`chain`, `trial`), and what is said about a file (`reading`).
docs/decisions/0025-provenance.md has the reasons.
"""

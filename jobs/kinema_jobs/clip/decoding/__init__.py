"""Decodes untrusted files in a separate process with little memory, little time and no secrets.

A decoder is much C code that reads hostile bytes; it can only damage that process. `process.py` starts it, reads its
frames as they come and can kill it at any moment; all other modules here run inside it and import no torch. The reasons
are in docs/decisions/0010-inputs.md.
"""

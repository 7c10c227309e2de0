"""Decodes files of strangers in a process of their own, which has little memory, little time and no secrets.

A decoder is a large body of C that reads hostile bytes. What it can break or use up is that process: `process.py`
starts it, reads its frames as they come and can kill it at any moment; everything else here runs inside it and imports
no torch. Why so: docs/decisions/0010-inputs.md.
"""

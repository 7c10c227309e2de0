"""What is let through, and how a clip says where it is from: judged prompts, watermarks, provenance.

Everything here is a function of text, frames and bytes; no module opens a socket or a store.
"""

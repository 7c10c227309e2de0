"""Real clips as training data: where shots begin, what clips are scored by, which are kept and why others are not.

Everything here is a function of frames that have been decoded already; no module opens a file, a socket or a store.
"""

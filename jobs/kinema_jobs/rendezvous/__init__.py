"""Who takes part in a run: one small service numbers the rounds of a group, and agents hold their place in it.

Imports no torch except in `handler`: the service runs in a pod of a few megabytes that must be up at once.
"""

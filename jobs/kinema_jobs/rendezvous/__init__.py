"""The rendezvous: one small service forms and numbers the rounds of a group; each agent keeps a connection to it.

Imports no torch except in `handler`: the service runs in a pod with a few megabytes of memory that must start fast.
"""

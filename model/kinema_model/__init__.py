"""The network and its mathematics: knows torch, and neither Lightning, Kubernetes nor storage."""

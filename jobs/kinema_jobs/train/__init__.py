"""Training: an agent per node that keeps its place in the group, and workers that take the steps."""

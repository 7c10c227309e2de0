"""Training: one agent per node, which takes part in the rendezvous, and workers that do the steps."""

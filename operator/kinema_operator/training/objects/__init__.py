"""One builder for each Kubernetes kind of a training. Pure."""

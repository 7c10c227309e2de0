"""One builder for each Kubernetes kind of a served model. Pure."""

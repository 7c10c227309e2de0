"""A training without a cluster: the same AppDef as the operator's, as processes on this machine."""

"""A training without a cluster: the operator's AppDef as processes on this machine."""

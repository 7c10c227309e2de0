"""What runs inside pods: one entry point per job."""

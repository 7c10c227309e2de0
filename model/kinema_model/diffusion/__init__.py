"""The flow from noise to a clip: its loss, its sampler, and random numbers that a restart does not change."""

"""The flow from noise to a clip: its loss and its sampler."""

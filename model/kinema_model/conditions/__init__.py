"""The conditions of a clip: its task and the inputs of the task."""

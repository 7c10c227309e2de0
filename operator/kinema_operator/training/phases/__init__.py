"""The phases of a training: parts of its plan. Pure."""

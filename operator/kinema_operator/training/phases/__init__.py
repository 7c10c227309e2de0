"""What a training does in each phase of its life: parts of its plan. Pure."""

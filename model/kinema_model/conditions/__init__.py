"""What a clip is asked for with: the tasks, and what of the clip is given."""

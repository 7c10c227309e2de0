"""The parts of plans: conditions, settings, builders of objects. No I/O, no clock, no randomness."""

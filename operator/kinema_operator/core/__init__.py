"""What the operator decides with: plans, conditions, objects as data. No I/O, no clock, no randomness."""

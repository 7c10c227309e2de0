"""How a model of recorded clips is judged, which nobody can read facts of: against clips that were held out."""

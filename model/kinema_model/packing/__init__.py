"""Clips of any shape in steps of one size: which clips make a step, and which rank computes which."""

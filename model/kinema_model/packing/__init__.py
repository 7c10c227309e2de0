"""Sequence packing: which clips of any shape make a step of one size, and which rank computes which."""

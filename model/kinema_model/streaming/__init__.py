"""Clips of open length, generated chunk by chunk."""

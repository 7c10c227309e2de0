"""Clips of open length, chunk after chunk."""

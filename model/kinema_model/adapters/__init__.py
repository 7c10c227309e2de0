"""Adapters of a network: small trained additions to weights that stay as they are."""

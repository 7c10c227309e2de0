"""Shared by serving and generation: observed servers, the request queues, the key for orders."""

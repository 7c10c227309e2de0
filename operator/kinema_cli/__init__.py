"""The `kinema` command."""

"""The repository's own prompts, with which the classifier of prompts is trained and measured."""

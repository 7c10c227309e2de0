"""Prompts that ask for what is not made here: refused by lists, a rule, a classifier or a service of one's own."""

from kinema_safety.prompts.judge import PromptJudge, Texts

__all__ = ["PromptJudge", "Texts"]

"""The report on prepared clips for people: what came in, what was kept, and why the rest was left out."""

from kinema_jobs.prepare.report.page import page

__all__ = ["page"]

"""The report of an evaluation as files: report.json for programs, report.html for people."""

from kinema_jobs.evaluate.report.files import (
    HTML_FILE,
    JSON_FILE,
    Identity,
    Origin,
    document,
    highlights,
    summary,
    write_report,
)

__all__ = ["HTML_FILE", "JSON_FILE", "Identity", "Origin", "document", "highlights", "summary", "write_report"]

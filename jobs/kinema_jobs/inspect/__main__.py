"""`python -m kinema_jobs.inspect FILE`: one JSON object, the verdict on a file.

The file is untrusted: this process has the limits of one that decodes, and frames are decoded by another one yet.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

import click

from kinema_jobs.clip.decoding.errors import Refused
from kinema_jobs.clip.decoding.limits import REQUEST, confine

_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)


def main() -> int:
    """Exit codes: 0 inspected, 2 the file, the keys or the anchors cannot be read."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported: each thread takes address space
    return int(_command.main(prog_name="python -m kinema_jobs.inspect", standalone_mode=True) or 0)


@click.command(help=__doc__)
@click.argument("file", type=_FILE)
@click.option("--keys", type=_FILE, help="JSON with the keys of watermarks.")
@click.option("--anchors", type=_FILE, help="PEM with the certificates that are trusted.")
@click.pass_context
def _command(context: click.Context, file: Path, keys: Path | None, anchors: Path | None) -> None:
    confine(REQUEST.cpu_seconds)
    # Imported late: the limits hold for what reads the file.
    from kinema_jobs.inspect.inspecting import inspected
    from kinema_safety.errors import SafetyError

    try:
        print(json.dumps({"event": "inspected", **inspected(file, keys, anchors)}), flush=True)
    except (SafetyError, Refused) as error:
        print(json.dumps({"event": "failed", "error": str(error)}), flush=True)
        context.exit(2)


if __name__ == "__main__":
    sys.exit(main())

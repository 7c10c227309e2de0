"""`python -m kinema_jobs.serve --digest sha256:... --port 8500`: serves one model until SIGTERM.

The first process of a container ignores signals without a handler, and importing torch takes many seconds. So SIGTERM
is handled before anything else is imported: until the port is open there is no order to finish.
"""

import os
import signal
import sys


def _leave(_number: int, _frame: object) -> None:
    os._exit(0)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)

    from kinema_jobs.serve.process import main

    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Skip the interpreter's shutdown, which takes seconds with torch loaded.
    os._exit(code)

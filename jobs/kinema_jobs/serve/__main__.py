"""`python -m kinema_jobs.serve --digest sha256:... --port 8500`: serves one model until SIGTERM.

The first process of a container gets no signal that it has not asked for, and Python takes many seconds to import
torch. So SIGTERM is asked for before anything is imported: until the port is open there is nothing to finish.
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
    # Nothing of the interpreter is needed any more, and taking it down takes seconds with torch in it.
    os._exit(code)

"""`python -m kinema_jobs.local FILE --work DIR`: a training on this machine, told as one JSON object per line.

{"event":"started","message"}           {"event":"progress","step","totalSteps","loss","worldSize",...}
{"event":"killed","worker","step"}      {"event":"recovered","seconds","step"}
{"event":"evaluating","message"}        {"event":"evaluated","message","report","accuracy","passed","seconds"}
{"event":"published","digest","folder"} {"event":"error","failureClass","message"}, then the class's exit code
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from torchx.schedulers.local_scheduler import SignalException

from kinema_api.objectstore import StoreLocation
from kinema_api.wire import EXIT_CODES
from kinema_jobs.local.run import Event, LocalTraining, read_training, run_local
from kinema_jobs.train.failures import TrainingFailure

INTERRUPTED = 130


def main() -> int:
    """Run, measure and publish; the exit code says how it ended."""
    options = argparse.ArgumentParser(prog="kinema_jobs.local", description=__doc__)
    options.add_argument("file", type=Path, help="a YAML file with one VideoModelTraining")
    options.add_argument("--work", type=Path, required=True, help="folder for logs and, unless --store, for artefacts")
    options.add_argument("--nodes", type=int, help="agents to start; default: the file's nodes")
    options.add_argument("--kill-after-step", type=int, help="SIGKILL one agent after this step")
    options.add_argument("--store", help="file:///folder or http(s)://host:port; default: WORK/store")
    options.add_argument("--bucket", default="kinema")
    options.add_argument("--credentials", type=Path, help="file with a StoreCredentials JSON, for S3")
    options.add_argument("--ca-file", type=Path, help="file with the authorities of an https store, in PEM")
    options.add_argument("--json", action="store_true", help="accepted for symmetry: output is always JSON lines")
    given = options.parse_args()
    endpoint = given.store or f"file://{given.work.absolute() / 'store'}"
    try:
        training = read_training(given.file, given.nodes)
        store = StoreLocation(endpoint=endpoint, bucket=given.bucket)
        wanted = LocalTraining(training, given.work, store, given.credentials, given.kill_after_step, given.ca_file)
        run_local(wanted, _tell)
    except TrainingFailure as error:
        _tell({"event": "error", "failureClass": error.failure_class, "message": str(error)})
        return EXIT_CODES[error.failure_class]
    except (KeyboardInterrupt, SignalException):
        return INTERRUPTED
    return 0


def _tell(event: Event) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())

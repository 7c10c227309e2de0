"""`python -m kinema_jobs.train.evaluation --config JSON`: the process in an evaluator's pod.

It measures the model that an attempt has exported and commits the report below the attempt. Exit codes: 0 when the
report's manifest is committed, whoever committed it, else the code of the failure class (kinema_api.wire), with the
last word in the termination log.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from types import FrameType

from pydantic import ValidationError

from kinema_api.run import EvaluationConfig
from kinema_api.wire import EXIT_CODES
from kinema_jobs.train.failures import BadConfiguration, last_word, leave_last_word
from kinema_jobs.train.settings import PodSettings


def main(argv: list[str] | None = None) -> int:
    """Measure one model."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # As the first process of a container it would not be ended by a signal that nobody handles.
    signal.signal(signal.SIGTERM, _leave)
    try:
        config = _config(argv)
        settings = PodSettings.from_environment()
        # Imported late: a bad configuration is refused before torch is loaded.
        from kinema_jobs.train.evaluation_report import make_report

        make_report(config, settings)
    except Exception as error:
        logging.getLogger(__name__).info("The evaluation ends with an error", exc_info=True)
        word = last_word(error, None)
        leave_last_word(word)
        return EXIT_CODES[word.failure_class]
    return 0


def _config(argv: list[str] | None) -> EvaluationConfig:
    options = argparse.ArgumentParser(prog="kinema_jobs.train.evaluation", description=__doc__, exit_on_error=False)
    options.add_argument("--config", required=True, help="a kinema_api.run.EvaluationConfig as JSON")
    try:
        return EvaluationConfig.model_validate_json(options.parse_args(argv).config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise BadConfiguration(f"--config: {where}: {first['msg']}; correct this field of the training") from None
    except argparse.ArgumentError as error:
        raise BadConfiguration(f"{error}; give --config JSON as kinema_api.launch does") from None


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(EXIT_CODES["preemption"])


if __name__ == "__main__":
    sys.exit(main())

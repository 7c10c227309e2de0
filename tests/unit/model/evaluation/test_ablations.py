"""Side by side: what is better scores better, with the same scenes for all."""

import numpy as np
import pytest

from kinema_model.errors import ConfigError
from kinema_model.evaluation import Plan
from kinema_model.evaluation.ablations import IN_FRAME, aspects, compare, rich_against_short
from kinema_model.evaluation.captions import EVERYTHING
from kinema_model.world import ClipShape, Scene, SceneKind, Video, WorldConfig
from unit.model.pretenders import Pretender, backwards, config_of

PLAN = Plan(clips=4, world=WorldConfig(kinds={SceneKind.SEVERAL: 1.0}))


def _cropped(clip: Video) -> Video:
    """As a model draws that was trained on crops: the middle, enlarged, with objects cut off at its sides."""
    height, width = clip.shape[1:3]
    rows, columns = (np.arange(side) // 2 + side // 4 for side in (height, width))
    return np.ascontiguousarray(clip[:, rows][:, :, columns])


def test_models_are_told_apart_on_the_same_captions(known: list[Scene]) -> None:
    models = {
        "native": Pretender(known, config_of()),
        "crop": Pretender(known, config_of(), None, _cropped),
        "1x": Pretender(known, config_of(), None, backwards),
    }
    section = compare(models, PLAN)
    assert section.row(EVERYTHING, "native").score.value == 1.0
    assert section.row(IN_FRAME, "native").score.value == 1.0
    assert section.row(IN_FRAME, "crop").score.value < 0.7
    assert section.row(EVERYTHING, "1x").score.value < 0.5
    assert [sheet.title for sheet in section.sheets] == list(models)
    first = [[shown.label for shown in sheet.shown] for sheet in section.sheets]
    assert first[0] == first[1] == first[2]
    with pytest.raises(ConfigError, match="one or more"):
        compare({}, PLAN)


class OnlyShort(Pretender):
    """Follows short captions, and draws the last scene it knows of for any other."""

    def _asked(self, prompt: str, shape: ClipShape) -> list[Scene]:
        return super()._asked(prompt, shape) or [scene for scene in self._known if scene.shape == shape]


def test_a_model_that_ignores_rich_captions_is_told(known: list[Scene]) -> None:
    section = rich_against_short(OnlyShort(known, config_of()), PLAN)
    assert section.row(EVERYTHING, "short").score.value == 1.0
    assert section.row(EVERYTHING, "rich").score.value < 0.6


def test_every_aspect_is_drawn_in_its_own_size(known: list[Scene]) -> None:
    section = aspects(Pretender(known, config_of()), PLAN, [(32, 32), (32, 48), (48, 32)])
    assert [sheet.title for sheet in section.sheets] == ["32 x 32", "48 x 32", "32 x 48"]
    assert [sheet.shown[0].video.shape[1:3] for sheet in section.sheets] == [(32, 32), (32, 48), (48, 32)]
    assert all(row.floor == row.score for row in section.rows)
    assert all(row.score.value == 1.0 for row in section.rows if row.name == EVERYTHING)

"""Every scene that a test's world makes, for models that draw the truth."""

import numpy as np
import pytest

from kinema_evaluation import motion, permanence, rates, staged
from kinema_world import ClipShape, Scene, World
from unit.one_thread import one_thread as one_thread


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    scenes: list[Scene] = []
    make = World.scene

    def scene(world: World, index: int) -> Scene:
        made = make(world, index)
        scenes.append(made)
        return made

    def hurried(one: Scene, factor: float) -> Scene:
        made = rescale(one, factor)
        scenes.append(made)
        return made

    def with_new_appearance(one: Scene, *, shape_too: bool) -> Scene:
        made = relook(one, shape_too=shape_too)
        scenes.append(made)
        return made

    def at_rate(one: Scene, shape: ClipShape) -> Scene:
        made = look_at(one, shape)
        scenes.append(made)
        return made

    def hiding(one: Scene, draw: np.random.Generator) -> Scene | None:
        made = hide(one, draw)
        if made is not None:
            scenes.append(made)
        return made

    hide = staged.hiding
    monkeypatch.setattr(permanence, "hiding", hiding)
    look_at = rates.at_rate
    monkeypatch.setattr(rates, "at_rate", at_rate)
    relook = staged.with_new_appearance
    monkeypatch.setattr(staged, "with_new_appearance", with_new_appearance)
    rescale = motion.rescaled
    monkeypatch.setattr(World, "scene", scene)
    monkeypatch.setattr(motion, "rescaled", hurried)
    return scenes

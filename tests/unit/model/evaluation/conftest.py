"""Every scene that a test's world makes, for models that draw the truth."""

import pytest

from kinema_model.evaluation import motion
from kinema_model.world import Scene, World


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

    rescale = motion.rescaled
    monkeypatch.setattr(World, "scene", scene)
    monkeypatch.setattr(motion, "rescaled", hurried)
    return scenes

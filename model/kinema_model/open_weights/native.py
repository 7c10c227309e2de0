"""What published weights were made for: sizes, lengths, steps and guidance, by the shape of their network.

Sources: model cards and the configurations of the releases of Wan 2.1 and Wan 2.2 (github.com/Wan-Video).
"""

from dataclasses import dataclass, replace
from typing import Final

from kinema_model.network.config import PUBLISHED, NetworkConfig


@dataclass(frozen=True)
class NativeShape:
    """A size and length that weights were made for: pixels, frames, frames per second."""

    height: int
    width: int
    frames: int
    fps: float


@dataclass(frozen=True)
class Usual:
    """What a clip has where its request says nothing: the first of `shapes`, and how it is denoised.

    `guidance_2` is that of the second network of two; None: that of the first.
    """

    shapes: tuple[NativeShape, ...]
    steps: int = 50
    guidance: float = 5.0
    guidance_2: float | None = None


def _shapes(sizes: tuple[tuple[int, int], ...], frames: int = 81, fps: float = 16) -> tuple[NativeShape, ...]:
    return tuple(NativeShape(height=h, width=w, frames=frames, fps=fps) for h, w in sizes)


_480P: Final = ((480, 832), (832, 480))
_720P: Final = ((720, 1280), (1280, 720))
UNKNOWN: Final = Usual(_shapes(_480P[:1]))
"""Of weights whose network has the shape of none that was published."""
_USUAL: Final = {
    "wan2.1-t2v-1.3b": Usual(_shapes(_480P)),
    "wan2.1-t2v-14b": Usual(_shapes((*_720P, *_480P))),
    "wan2.1-i2v-14b": Usual(_shapes((*_480P, *_720P)), steps=40),
    "wan2.2-a14b": Usual(_shapes((*_720P, *_480P)), steps=40, guidance=4.0, guidance_2=3.0),
    "wan2.2-i2v-a14b": Usual(_shapes((*_720P, *_480P)), steps=40, guidance=3.5, guidance_2=3.5),
    "wan2.2-ti2v-5b": Usual(_shapes(((704, 1280), (1280, 704)), 121, 24)),
}


def published_name(network: NetworkConfig, experts: int) -> str | None:
    """Which of the published networks has this shape, if any; Wan 2.1 14B and an expert of Wan 2.2 share one."""
    for name, config in PUBLISHED.items():
        if config == network and ("a14b" in name) == (experts == 2):
            return name
    return None


def usual(network: NetworkConfig, experts: int) -> Usual:
    """What is usual of weights of this shape."""
    found = _USUAL.get(published_name(network, experts) or "", UNKNOWN)
    return found if experts == 2 else replace(found, guidance_2=None)

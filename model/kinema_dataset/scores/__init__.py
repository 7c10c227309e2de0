"""What a clip is scored by: one pure function of its frames in each module, together in `scores_of`."""

from kinema_dataset.frames import Frames, inside
from kinema_dataset.records import Scores
from kinema_dataset.scores.brightness import brightness
from kinema_dataset.scores.letterbox import bars
from kinema_dataset.scores.motion import motion
from kinema_dataset.scores.sharpness import sharpness
from kinema_dataset.scores.stillness import stillness
from kinema_dataset.scores.text import text

__all__ = ["bars", "brightness", "motion", "scores_of", "sharpness", "stillness", "text"]


def scores_of(frames: Frames) -> Scores:
    """All scores of frames uint8 (T, H, W, 3); bars are measured first, and everything else inside them.

    Raises FramesError if it is not frames.
    """
    around = bars(frames)
    picture = inside(frames, around)
    return Scores(
        motion=motion(picture),
        stillness=stillness(picture),
        sharpness=sharpness(picture),
        brightness=brightness(picture),
        text=text(picture),
        letterbox=around.share(frames.shape[1], frames.shape[2]),
        bars=around,
    )

"""Reads a whole clip: cuts it into shots, and each shot into background, camera, objects and what they do."""

from itertools import pairwise

import numpy as np

from kinema_world.errors import ClipError
from kinema_world.reader.camera import camera_step, scenery_of
from kinema_world.reader.events import Stage, alone, contact, find_trail, painting
from kinema_world.reader.layers import (
    LEAST_AREA,
    Layer,
    anywhere,
    as_float,
    background_word,
    backgrounds,
    find_cut,
    grown,
    object_cores,
    object_layers,
    scenery_behind,
)
from kinema_world.reader.objects import measure_colour
from kinema_world.reader.reading import Contact, ObjectReading, Reading, ShotReading, Trail
from kinema_world.vocabulary import FloatArray, Video

# Pixels around an object that its soft edge may tint.
_HALO = 3


def read(video: Video, fps: float) -> Reading:
    """All that can be told of a clip uint8 (T, H, W, 3) from its pixels; `fps` in frames per second.

    Raises:
        ClipError: it is no clip, or the rate is not above 0.
    """
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or 0 in video.shape:
        raise ClipError(f"A clip of {video.dtype} {video.shape} cannot be read. Give uint8 (T, H, W, 3).")
    if not 0 < fps < np.inf:
        raise ClipError(f"A clip of fps {fps} cannot be read. Give a rate above 0.")
    pixels = as_float(video)
    bases = backgrounds(pixels)
    cut = find_cut(bases)
    ends = [0, len(pixels)] if cut is None else [0, cut, len(pixels)]
    shots = tuple(_read_shot(pixels[first:end], bases[first:end], first, fps) for first, end in pairwise(ends))
    return Reading(min(video.shape[1:3]), shots)


def _read_shot(pixels: FloatArray, bases: FloatArray, first: int, fps: float) -> ShotReading:
    if np.isnan(bases).all():
        return ShotReading(first, len(pixels), None, None, ())
    base = np.nanmedian(bases, axis=0).astype(np.float32)
    cores = object_cores(pixels)
    objects_there = grown(anywhere(cores, pixels.shape[:3]), _HALO)
    scenery = scenery_of(pixels, base, objects_there)
    step = camera_step(pixels, base, objects_there) if scenery else (0.0, 0.0)
    camera = None if step is None else (step[0] * fps, step[1] * fps)
    behind = base
    if scenery and step is not None:
        behind = scenery_behind(pixels, base, objects_there, step)
    stage = Stage(pixels, base, fps, step)
    objects, met = _read_objects(object_layers(pixels, behind, cores), stage)
    return ShotReading(first, len(pixels), background_word(base), camera, tuple(objects), met)


def _read_objects(layers: list[Layer], stage: Stage) -> tuple[list[ObjectReading], Contact | None]:
    ink = find_trail(layers)
    trail = None
    if ink is not None:
        number, stays = ink
        trail = Trail(layers[number].colour, stays)
        layers = layers[:number] + layers[number + 1 :]
    colour_tracks = [measure_colour(layer) for layer in layers if _is_object(layer, stage)]
    if trail is not None and len(colour_tracks) == 1:
        return [painting(colour_tracks[0], stage, trail)], None
    if len(colour_tracks) == 2 and (met := contact(colour_tracks[0], colour_tracks[1], stage)) is not None:
        return met[1], met[0]
    return [alone(colour_track, stage) for colour_track in colour_tracks], None


def _is_object(layer: Layer, stage: Stage) -> bool:
    return float(layer.coverage.sum(axis=(1, 2)).max()) >= LEAST_AREA * stage.side**2

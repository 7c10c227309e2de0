"""Laws of motion as functions of time in seconds, so that the frame rate changes the sampling, not the motion.

Positions are (columns, rows) in any unit of length, rows counting downwards; velocities are per second.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# (low, high) of a centre along columns and rows.
Box = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Bounce:
    """An object turns back at a wall of the frame, at a time in seconds."""

    time: float
    wall: str


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Positions (T, 2) and velocities (T, 2) per second of an object at T times, and its bounces."""

    positions: Floats
    velocities: Floats
    bounces: tuple[Bounce, ...] = ()


def straight(start: Floats, velocity: Floats, times: Floats) -> Trajectory:
    """Uniform motion from `start` (2,) with `velocity` (2,) per second, at `times` (T,) in seconds."""
    return Trajectory(start + times[:, None] * velocity, np.broadcast_to(velocity, (len(times), 2)))


def bouncing(start: Floats, velocity: Floats, box: Box, times: Floats) -> Trajectory:
    """Uniform motion that is mirrored at the sides of a box, without loss.

    `start` (2,) lies in the box, `velocity` (2,) is per second, `times` (T,) are in seconds.
    """
    positions, velocities = np.empty((len(times), 2)), np.empty((len(times), 2))
    bounces: list[Bounce] = []
    for axis, walls in enumerate((("left", "right"), ("top", "bottom"))):
        (low, high), speed = box[axis], float(velocity[axis])
        room = high - low
        # Mirroring unfolds into a straight line through copies of the box; odd copies are mirrored.
        travelled = start[axis] - low + speed * times
        copy = np.floor(travelled / room)
        inside = travelled - copy * room
        odd = copy % 2 == 1
        positions[:, axis] = low + np.where(odd, room - inside, inside)
        velocities[:, axis] = np.where(odd, -speed, speed)
        bounces += _crossings(float(start[axis]) - low, speed, room, int(copy[-1] * np.sign(speed)), walls)
    return Trajectory(positions, velocities, tuple(sorted(bounces, key=lambda bounce: bounce.time)))


def _crossings(start: float, speed: float, room: float, count: int, walls: tuple[str, str]) -> list[Bounce]:
    """`count` bounces along one axis: the times at which the unfolded line enters a new copy of the box.

    The count comes from the copy that the line ends in: times alone may round to the other side of the last frame.
    """
    if count <= 0:
        return []
    first = (room - start if speed > 0 else start) / abs(speed)
    turn = int(speed > 0)
    return [Bounce(first + room / abs(speed) * number, walls[(turn + number) % 2]) for number in range(count)]


@dataclass(frozen=True)
class Flight:
    """One arc of a fall: at `begin` seconds it leaves `height` above the floor with a velocity, upwards positive."""

    begin: float
    height: float
    velocity: float


def falling(drop: float, gravity: float, restitution: float, least_rise: float, times: Floats) -> tuple[Floats, Floats]:
    """Height above the floor (T,) and upward velocity (T,) of a fall from rest that loses speed at each bounce.

    It ends at rest once it would rise less than `least_rise`. `drop` is the first height, `times` (T,) are in seconds.

    `gravity` in length per second squared, `restitution` the share of speed that a bounce keeps.
    """
    flights = _flights(drop, gravity, restitution, least_rise)
    which = np.searchsorted([flight.begin for flight in flights], times, side="right") - 1
    begin, height, velocity = (
        np.array([getattr(flight, name) for flight in flights])[which] for name in ("begin", "height", "velocity")
    )
    passed = times - begin
    heights = height + velocity * passed - gravity * passed**2 / 2
    speeds = velocity - gravity * passed
    resting = which == len(flights) - 1
    return np.where(resting, 0.0, heights), np.where(resting, 0.0, speeds)


def rebounds(drop: float, gravity: float, restitution: float, least_rise: float) -> tuple[float, ...]:
    """Times in seconds at which a fall touches the floor; at the last one the object comes to rest."""
    return tuple(flight.begin for flight in _flights(drop, gravity, restitution, least_rise)[1:])


def _flights(drop: float, gravity: float, restitution: float, least_rise: float) -> list[Flight]:
    """All arcs, and the rest at the end as an arc of no velocity."""
    flights = [Flight(0.0, drop, 0.0)]
    time, speed = (2 * drop / gravity) ** 0.5, (2 * drop * gravity) ** 0.5
    while (speed := speed * restitution) ** 2 / (2 * gravity) >= least_rise:
        flights.append(Flight(time, 0.0, speed))
        time += 2 * speed / gravity
    return [*flights, Flight(time, 0.0, 0.0)]


def elastic(normal: Floats, velocities: tuple[Floats, Floats], masses: tuple[float, float]) -> tuple[Floats, Floats]:
    """Velocities (2,) after an elastic collision of two smooth discs, which conserves momentum and energy.

    `normal` (2,) is the unit vector from the first disc to the second.
    """
    first, second = velocities
    m, n = masses
    exchanged = 2 * ((first - second) @ normal) / (m + n) * normal
    return first - n * exchanged, second + m * exchanged

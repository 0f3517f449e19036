"""Numbers of perturbations: how far something may change, angles, and the lengths of images."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from verify.errors import InputError
from verify.rationals import Number, rational, round_up

HALF_TURN = Fraction(3141592653589793238462643383279503, 10**33)  # above pi by less than 1e-33
UNITS = {"deg": HALF_TURN / 180, "rad": Fraction(1)}


def reach_of(value: Number, what: str) -> Fraction:
    """A rational >= 0, by how much something may change. Raises InputError for another."""
    reach = rational(value, what)
    if reach < 0:
        raise InputError(f"{what} is {value} but must be at least 0")
    return reach


def angle_of(value: Number, what: str) -> Fraction:
    """Radians >= 0 of "5deg", "0.1rad" or a number of degrees, rounded up to a float32. Raises InputError for others.

    Rounded up, since no rational is a degree: a range of angles with this end holds all that are meant.
    """
    text, unit = str(value).strip(), "deg"
    for name in UNITS:
        if text.endswith(name):
            text, unit = text.removesuffix(name).strip(), name
    try:
        exact = reach_of(text, what) * UNITS[unit]
    except InputError:
        raise InputError(f"{what} is {value!r} but must be an angle of at least 0; write for example 5deg or 0.1rad"
                         ) from None
    if exact > HALF_TURN:
        raise InputError(f"{what} is {value} but must be at most 180deg, which turns to every angle; write 180deg")
    return Fraction(float(round_up(np.array([exact], object), torch.float32)[0]))


def plane(shape: tuple[int, ...], what: str) -> tuple[int, int, int]:
    """(channels, rows, columns) of images. Raises InputError for inputs that are none."""
    if len(shape) not in (2, 3):
        raise InputError(f"{what} moves the pixels of images (channels, rows, columns), but inputs have the shape "
                         f"{shape}; give a network that takes images")
    return (1, shape[0], shape[1]) if len(shape) == 2 else (shape[0], shape[1], shape[2])


def moved_places(shape: tuple[int, ...], down: int, across: int) -> np.ndarray:
    """The flat places of the pixels so far away from each, those at the edge for what lies beyond it."""
    places = np.arange(np.prod(shape)).reshape(-1, *shape[-2:])
    row = (np.arange(shape[-2]) + down).clip(0, shape[-2] - 1)
    column = (np.arange(shape[-1]) + across).clip(0, shape[-1] - 1)
    return places[:, row[:, None], column].reshape(shape)

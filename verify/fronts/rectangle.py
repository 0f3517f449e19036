"""Rectangles of images, at a fixed place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.errors import InputError
from verify.fronts.base import Shape
from verify.fronts.numbers import plane


@dataclass(frozen=True)
class Rectangle:
    """Pixels from a row and a column on, so many down and across; all channels of them."""

    row: int
    column: int
    height: int
    width: int

    @classmethod
    def of(cls, text: str, what: str) -> Rectangle:
        """ "ROW,COLUMN,HEIGHT,WIDTH". Raises InputError for others."""
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != 4 or not all(part.isdecimal() for part in parts) or "0" in parts[2:]:
            raise InputError(f"{what} {text!r} is not ROW,COLUMN,HEIGHT,WIDTH in pixels; write for example 2,2,3,3")
        return cls(*map(int, parts))

    def mask(self, shape: Shape, what: str) -> np.ndarray:
        """Where the pixels are in images of this shape, bool. Raises InputError where some lie outside."""
        channels, rows, columns = plane(shape, what)
        if self.row + self.height > rows or self.column + self.width > columns:
            raise InputError(f"{what} at {self.row},{self.column} of {self.height} x {self.width} pixels lies partly "
                             f"outside of images of {rows} x {columns}; move it, or make it smaller")
        inside = np.zeros((channels, rows, columns), bool)
        inside[:, self.row : self.row + self.height, self.column : self.column + self.width] = True
        return inside.reshape(shape)

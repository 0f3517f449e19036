"""Nearest-neighbour Resize and Upsample: which input place each output place copies, axis by axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from verify.ir.onnx_reader.reader import Call
from verify.ir.onnx_reader.values import Shape

_F = np.float32  # coordinates are float32 in the reference runtime, and their ties decide

_COORDINATES: dict[str, Callable[[np.ndarray, np.float32, int, int], np.ndarray]] = {
    "asymmetric": lambda x, scale, n, m: x / scale,
    "half_pixel": lambda x, scale, n, m: (x + _F(0.5)) / scale - _F(0.5),
    "pytorch_half_pixel": lambda x, scale, n, m: (x + _F(0.5)) / scale - _F(0.5) if m > 1 else x * _F(0),
    "align_corners": lambda x, scale, n, m: x * _F(n - 1) / _F(m - 1) if m > 1 else x * _F(0),
    "tf_half_pixel_for_nn": lambda x, scale, n, m: (x + _F(0.5)) / scale,
}
_ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - _F(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + _F(0.5)),
}


def sources(c: Call, shape: Shape) -> Iterator[np.ndarray]:
    """For each axis the input place of each output place."""
    if c.attribute("mode", "nearest") != "nearest":
        c.refuse("interpolates", "use nearest-neighbour resizing")
    old = c.op == "Upsample" or c.opset < 11
    coordinates = c.attribute("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = c.attribute("nearest_mode", "floor" if old else "round_prefer_floor")
    for name in ("cubic_coeff_a", "exclude_outside", "extrapolation_value"):
        c.attribute(name)
    if coordinates not in _COORDINATES or rounding not in _ROUNDING or c.attribute("antialias", 0):
        c.refuse(f"resizes by {coordinates} coordinates and {rounding}, or smooths", "use asymmetric and floor")
    for n, (scale, m) in zip(shape, _lengths(c, shape, old), strict=True):
        if n == m and scale == 1:
            yield np.arange(n)
            continue
        x = _COORDINATES[coordinates](np.arange(m, dtype=_F), scale, n, m)
        yield np.clip(_ROUNDING[rounding](x), 0, n - 1).astype(np.int64)


def _lengths(c: Call, shape: Shape, old: bool) -> list[tuple[np.float32, int]]:
    """Scale and output length of each axis."""
    given = [c.axis(a, len(shape)) for a in c.attribute("axes") or range(len(shape))]
    place = 1 if old else 2
    if c.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        c.refuse("keeps an aspect ratio", "give the sizes themselves")
    scales = c.const(place).array.ravel() if c.has(place) else np.array(c.attribute("scales") or [], _F)
    out = [(_F(1), n) for n in shape]
    if scales.size:
        pairs = [(_F(s), int(np.floor(_F(n) * _F(s)))) for s, n in zip(scales, (shape[a] for a in given), strict=True)]
    else:
        pairs = [(_F(m) / _F(shape[a]), m) for a, m in zip(given, c.integers(3) or [], strict=True)]
    for axis, pair in zip(given, pairs, strict=True):
        out[axis] = pair
    return out

"""Perturbations with few parameters, as maps in front of a network: brightness, translation, rotation and their like.

Variables are an image, which is pinned, and the parameters of what happens to it. All methods treat them as any other
input, and certificates state the map as part of their claim.
"""

from verify.fronts.base import Composition, Perturbation, Ranges
from verify.fronts.blur import Blur
from verify.fronts.box_blur import BoxBlur
from verify.fronts.brightness import Brightness
from verify.fronts.contrast import Contrast
from verify.fronts.directions import Directions
from verify.fronts.gain import Gain
from verify.fronts.motion_blur import MotionBlur
from verify.fronts.occlusion import Occlusion
from verify.fronts.patch import Patch
from verify.fronts.perturbed import perturbed
from verify.fronts.pixels import PixelNoise
from verify.fronts.reading import perturbation_of
from verify.fronts.rectangle import Rectangle
from verify.fronts.rotation import Rotation
from verify.fronts.scaling import Scaling
from verify.fronts.shear import Shear
from verify.fronts.translation import Translation

__all__ = [
    "Blur",
    "BoxBlur",
    "Brightness",
    "Composition",
    "Contrast",
    "Directions",
    "Gain",
    "MotionBlur",
    "Occlusion",
    "Patch",
    "Perturbation",
    "PixelNoise",
    "Ranges",
    "Rectangle",
    "Rotation",
    "Scaling",
    "Shear",
    "Translation",
    "perturbation_of",
    "perturbed",
]

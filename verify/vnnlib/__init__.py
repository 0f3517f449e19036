"""VNN-LIB 1.0 property files: text to normal form (parser), to input sets with rows (cases), to a Property."""

from verify.rows import Row
from verify.vnnlib.cases import read_vnnlib
from verify.vnnlib.property import Case, Property

__all__ = ["Case", "Property", "Row", "read_vnnlib"]

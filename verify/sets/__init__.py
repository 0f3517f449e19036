"""Sets of allowed inputs, as objects of convex analysis.

A set is a batch of convex sets of one kind and one input shape, one for each case of a problem. Methods need only
what the base class lists: attacks the projection and the maximiser, linear bounds the support function, LP and MILP
the linear rows, interval bounds the hull.
"""

from verify.sets.ball import Ball
from verify.sets.base import InputSet
from verify.sets.box import Box
from verify.sets.convex import ConvexSet
from verify.sets.grid import Grid
from verify.sets.polytope import Polytope

__all__ = ["Ball", "Box", "ConvexSet", "Grid", "InputSet", "Polytope"]

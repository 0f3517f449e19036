"""Linear bounds, forward and backward: one linear function on each side of every value."""

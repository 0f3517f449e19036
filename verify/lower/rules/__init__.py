"""How attacks step: from a point, and the gradient there, to the next."""

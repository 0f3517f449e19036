"""v* itself, from both sides: branch and bound, and mixed integer programs."""

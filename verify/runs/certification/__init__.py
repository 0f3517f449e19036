"""A data set, certified: every sample through a cascade of methods, and what the results add up to."""

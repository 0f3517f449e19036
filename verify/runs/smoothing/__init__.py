"""Randomized smoothing of whole data sets: statistical answers, kept apart from those of proofs and attacks."""

"""Randomized smoothing: answers that hold with a stated probability, for models that no bound reaches.

They are statistical, and never meet with proofs: what is smoothed is another classifier than the network.
"""

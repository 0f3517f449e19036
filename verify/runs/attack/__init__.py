"""Attacks on whole data sets and on models of any kind: what they find, and what makes them doubtful."""

"""The parts of branch and bound: what is split, where, in which order, and with which bounds."""

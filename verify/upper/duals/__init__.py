"""The dual of the linear relaxation, for many domains at once: optimised slopes and multipliers, and their log."""

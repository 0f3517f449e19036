"""The parts of the exact programs: their bounds, their relaxation, and the loop of the solver."""

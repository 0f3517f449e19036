"""From a user's texts to results that are kept: one folder a trade, and what their commands have in common."""

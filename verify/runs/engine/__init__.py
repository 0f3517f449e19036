"""Runs that are kept and resumed: the store, the run folder, and who does the tasks."""

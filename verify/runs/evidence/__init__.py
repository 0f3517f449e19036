"""What stands behind a verdict of a run: witnesses, their replay in the original runtime, certificates, crossings."""

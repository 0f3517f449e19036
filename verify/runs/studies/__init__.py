"""Studies of many bounds: the radius that each sample withstands, and the gaps that methods leave open."""

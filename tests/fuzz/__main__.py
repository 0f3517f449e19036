"""`python -m tests.fuzz SEED CASES [KIND ...]`: random models, and the seed of each difference."""

from __future__ import annotations

import sys

from tests.fuzz.cases import GENERATORS, run

if __name__ == "__main__":
    seed, count, *kinds = sys.argv[1:]
    sys.exit(run(int(seed), int(count), kinds or list(GENERATORS)))

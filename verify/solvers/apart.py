"""One maximum in a process of its own that can be ended.

A solver may presolve or factorise for minutes without a look at its clock or at who would interrupt it, and only a
process can be stopped then. It is started by this file's path, with `python -P apart.py`, and imports nothing of the
package, which takes a fifth of a second: it reads the path of a file of calls (`highs_calls.py`, `pulp_calls.py` or
`conic_calls.py`), what to ask of its `answer` and the seconds for it on its standard input, and writes the pickled
answer on its standard output.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import runpy
import subprocess
import sys
from typing import Any

import numpy as np

SHARE = 0.9  # of a process's time, after which the solver itself should stop and tell what it has
LARGE = {  # nonzeros up to which a program is solved in this process, which saves starting another one
    "MILP": 50_000,  # below, the root takes less than that
    "conic": 300_000,  # below, the program is soon written and factorised; the process has to import CVXPY
    "LP": 2_000_000,  # below, it is soon presolved, and later ones gain from the basis of the one before
}


def is_large(matrix: Any, kind: str) -> bool:
    """Whether a program of this kind and sparse matrix is solved in a process of its own where there is a limit."""
    return matrix.nnz > LARGE[kind]


def apart(calls: str, asked: tuple[Any, ...], seconds: float) -> Any:
    """What `answer(*asked, SHARE * seconds)` of the file `calls` gives in a process that is ended when the time is
    over: the fields of a `Solution`, or the sentence of a refusal. A process that ends by itself has found nothing: an
    error."""
    try:
        done = subprocess.run([sys.executable, "-P", __file__], input=pickle.dumps((calls, asked, seconds)),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=max(seconds, 0.0), check=False)
        return pickle.loads(done.stdout)  # from our own process
    except subprocess.TimeoutExpired:
        return "limit", np.inf, -np.inf, None, None, 0
    except (EOFError, pickle.UnpicklingError):
        return "error", np.inf, -np.inf, None, None, 0


def main() -> None:
    """Answers what is asked on standard input."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a solver prints is no answer
    calls, asked, seconds = pickle.load(sys.stdin.buffer)
    faulthandler.dump_traceback_later(seconds, exit=True)  # where whoever asked is no more
    answers.write(pickle.dumps(runpy.run_path(calls)["answer"](*asked, SHARE * seconds)))
    answers.close()


if __name__ == "__main__":
    main()

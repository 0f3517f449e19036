"""Every way in which the toolkit says no: one sentence with what, where and the remedy."""

import os
import sysconfig
import traceback

LATE = "the time limit was reached"


class VerifyError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line."""


class InputError(VerifyError):
    """What the user gave does not fit: a missing file, a wrong shape, a negative eps."""


class Untraceable(InputError):
    """A torch module that torch.export cannot follow, for example since its control flow depends on its input."""


class UnsupportedOp(VerifyError):
    """A node of a model that no operator family covers; it is never approximated or skipped."""


class UnsupportedMethod(VerifyError):
    """A method was asked for a set, a specification or a network that it cannot treat."""


class SolverError(VerifyError):
    """A solver stopped in a state that says nothing about the problem."""


class Unbounded(SolverError):
    """A program for a solver needs finite bounds of every value, and one of the network has none."""


class OutOfTime(VerifyError):
    """The deadline in force has come (see `verify.deadline`); what was found before it stands."""

    def __init__(self) -> None:
        super().__init__(LATE)


class Diverged(VerifyError):
    """A training whose loss or gradient is no longer finite."""


class Contradiction(VerifyError):
    """Two answers to one problem cross: one of them is wrong, and neither is a verdict.

    `bundle` holds what is needed to reproduce the crossing.
    """

    def __init__(self, message: str, bundle: dict | None = None):
        super().__init__(message)
        self.bundle = bundle or {}


def place_of(problem: BaseException) -> str:
    """Where the user's code raised an exception, "file.py, line 3": its innermost frame outside of installed packages
    and of Python's own; the innermost of all where there is none."""
    if isinstance(problem, SyntaxError):
        return f"{problem.filename}, line {problem.lineno}"
    frames = traceback.extract_tb(problem.__traceback__)
    foreign = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}", sysconfig.get_path("stdlib"), "<")
    own = [frame for frame in frames[1:] if not any(part in frame.filename for part in foreign)]
    where = (own or frames)[-1]
    return f"{where.filename}, line {where.lineno}"

"""onnxruntime in a process of its own, which may be slow, be ended by the file that it runs, and be stopped."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import weakref
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from verify.deadline import check_time, deadline
from verify.errors import InputError, OutOfTime, SolverError
from verify.ir.opaque import child

CRASHES = 10  # processes that a file may end in a row before it is given up
PATIENCE = 60.0  # seconds for an output where there is no deadline
LARGEST = 1 << 22  # numbers of an output
LINE = 1 << 16  # bytes of the first line


class Runtime:
    """A file in a process that is started when it is needed, and again where the file ended it."""

    def __init__(self, model: Path):
        self.model = model
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started it: a forked copy starts its own
        self._crashes = 0
        self._start()

    def run(self, x: np.ndarray) -> np.ndarray | None:
        """The output, flat float64, at one sample of the model's kind, flat; None where it has none there.

        Raises OutOfTime where the deadline in force comes first, SolverError where the file ends its runtime again and
        again; where it does so once, it has no output there.
        """
        check_time()
        if self._process is None or self._owner != os.getpid():
            self._start()
        try:
            self._write(x.tobytes())
            (count,) = struct.unpack("<q", self._read(8))
            self._crashes = 0
            if count == child.MISSED:
                return None
            if count > LARGEST:
                raise EOFError
            return np.frombuffer(self._read(8 * count), np.float64)
        except OutOfTime:
            self._stop()
            raise
        except (EOFError, OSError):
            self._stop()
            self._crashes += 1
            if self._crashes >= CRASHES:
                raise SolverError(f"{self.model} ends onnxruntime, or keeps it too long, time after time; look at the "
                                  "operators of the file") from None
            return None

    def _start(self) -> None:
        """Starts the process and reads what it says of the file. Raises InputError where it cannot open it."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", child.__file__, str(self.model)], bufsize=0, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _end, self._process)
        line = b""
        try:
            while not line.endswith(b"\n") and len(line) < LINE:
                line += self._read(1)
            said: dict[str, Any] = json.loads(line)
        except OutOfTime:
            self._stop()
            raise
        except (EOFError, OSError, ValueError):
            said = {"error": "it ends while it opens the file"}
        if "error" in said:
            self._stop()
            raise InputError(f"onnxruntime cannot run {self.model}: {said['error']}")
        self.shape: list[int | None] = said["shape"]
        self.kind = np.dtype(said["kind"])

    def _write(self, data: bytes) -> None:
        """Writes all of it, as fast as the process takes it."""
        assert self._process is not None
        assert self._process.stdin is not None
        place, left = self._process.stdin, memoryview(data)
        while left:
            self._await([], [place])
            left = left[os.write(place.fileno(), left[: select.PIPE_BUF]) :]

    def _read(self, count: int) -> bytes:
        """So many bytes. Raises EOFError where the process has ended, OutOfTime where the deadline comes first."""
        assert self._process is not None
        assert self._process.stdout is not None
        found = bytearray()
        while len(found) < count:
            self._await([self._process.stdout], [])
            part = os.read(self._process.stdout.fileno(), count - len(found))
            if not part:
                raise EOFError
            found += part
        return bytes(found)

    def _await(self, readable: list[IO[bytes]], writable: list[IO[bytes]]) -> None:
        """Waits until one of these is ready. Raises OutOfTime where the deadline comes first, EOFError where it takes
        longer than PATIENCE."""
        left = deadline().left
        if not any(select.select(readable, writable, [], min(PATIENCE, max(0.0, left)))):
            raise OutOfTime if left < PATIENCE else EOFError

    def _stop(self) -> None:
        self._process = None
        self._end()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process, of which nothing is left then."""
    process.kill()
    with process:  # closes its pipes and waits for it
        pass


def runtime_of(model: Path) -> Runtime:
    """The file's runtime, one for all who ask while the file does not change. Raises InputError where onnxruntime
    cannot open it, or where it is no model of one input and one output."""
    state = model.stat()
    return _opened(model.absolute(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _opened(model: Path, changed: int, size: int) -> Runtime:
    return Runtime(model)

"""The process that runs an ONNX file: samples on its standard input, outputs on its standard output.

Started by its path, with `python -P child.py MODEL`; it imports nothing of the package. First it writes one line of
JSON: the input's `shape` (null for an open length) and `kind`, or the `error` that kept it from opening the file. Then,
for every sample (raw numbers of that kind), it answers with an integer of 64 bits: how many outputs follow as float64,
or MISSED where the runtime cannot evaluate the sample.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import struct
import sys
from math import prod
from typing import Any, BinaryIO

import numpy as np

MOST_BYTES = 8 << 30  # of addresses
MISSED = -1
KINDS = {"tensor(float)": "float32", "tensor(double)": "float64"}


def main(model: str, given: BinaryIO, answers: BinaryIO) -> None:
    """Serves until its input ends."""
    try:
        session = _open(model)
        shape, kind = _form(session)
    except Exception as problem:  # onnxruntime's own exceptions share no other base
        told = (str(problem).splitlines() or [type(problem).__name__])[0]
        answers.write(json.dumps({"error": told}).encode() + b"\n")
        return
    answers.write(json.dumps({"shape": shape, "kind": kind}).encode() + b"\n")
    lengths = [1 if n is None else n for n in shape]
    size, name = prod(lengths) * np.dtype(kind).itemsize, session.get_inputs()[0].name
    while len(data := given.read(size)) == size:
        try:
            found = session.run(None, {name: np.frombuffer(data, kind).reshape(lengths)})[0]
            flat = np.asarray(found).astype(np.float64).ravel()
        except Exception:  # as above
            answers.write(struct.pack("<q", MISSED))
            continue
        answers.write(struct.pack("<q", flat.size) + flat.tobytes())


def _open(model: str) -> Any:
    """The file in onnxruntime, node by node as `verify.ir.original` runs it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    text: str | bytes = model
    if model.endswith(".gz"):
        with open(model, "rb") as file:
            text = gzip.decompress(file.read())
    return ort.InferenceSession(text, options, providers=["CPUExecutionProvider"])


def _form(session: Any) -> tuple[list[int | None], str]:
    """Shape and kind of the one input; of its lengths only the first may be open."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"it has {len(inputs)} inputs and {len(outputs)} outputs where one of each is wanted")
    if inputs[0].type not in KINDS:
        raise ValueError(f"its input is a {inputs[0].type}, neither float32 nor float64")
    shape = [n if isinstance(n, int) and n > 0 else None for n in inputs[0].shape]
    if not shape or None in shape[1:]:
        raise ValueError(f"its input has the shape {inputs[0].shape}, of which only the first length may be open")
    return shape, KINDS[inputs[0].type]


if __name__ == "__main__":
    said = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what the runtime prints is no answer
    main(sys.argv[1], sys.stdin.buffer, said)

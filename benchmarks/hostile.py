"""What fifty small files that ask for much make the toolkit take: peak memory and time of whole processes.

Certificates, models, properties and data that declare sizes far beyond their own, each a few kilobytes. What is
right is an answer or one sentence, in less than LIMIT bytes.

    python benchmarks/hostile.py [--kinds certificate,model,property,data]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from verify.check.container import MAGIC, VERSIONS, digest

LIMIT = 1 << 30
SECONDS = 60
RUN = "from verify.cli.main import main; main()"
File = tuple[str, bytes, list[str]]  # its name, what it holds, and the command that reads it, as "{}"


def certificates() -> Iterator[File]:
    """One huge input, or one huge value, an operator each; input trees of many leaves over them."""
    for n in (10**4, 10**5, 10**6, 3 * 10**6, 4 * 10**6, 10**9):
        for leaves in (1, 256):
            arrays = {"i": np.zeros((1, 1), "<i4"), "d": np.ones(1, "<i4")}
            node = {"op": "gather", "inputs": ["x"], "shape": [1], "index": "i", "divisor": "d"}
            yield f"gather-{n}-{leaves}.certificate", certificate(n, [node], arrays, leaves), ["check", "{}"]
    for n in (10**3, 10**4, 10**5):
        node = {"op": "linear", "inputs": ["x"], "shape": [n], "weight": "w", "bias": "b"}
        arrays = {"w": np.zeros((n, 1), "<f4"), "b": np.zeros(n, "<f4")}
        yield f"linear-{n}.certificate", certificate(1, [node], arrays, 16), ["check", "{}"]
    for length in (1 << 20, 1 << 30, 1 << 60):
        body = length.to_bytes(8, "little") + b" " * min(length, 1 << 24)
        yield f"header-{length}.certificate", MAGIC + zlib.compress(body, 9), ["check", "{}"]
    for size in (1 << 24, 1 << 28, 1 << 40):
        header = json.dumps({"arrays": [["a", "<f8", [size]]]}).encode()
        body = len(header).to_bytes(8, "little") + header + bytes(min(size * 8, 1 << 28))
        yield f"array-{size}.certificate", MAGIC + zlib.compress(body, 9), ["check", "{}"]


def certificate(n: int, nodes: list[dict[str, Any]], arrays: dict[str, np.ndarray], leaves: int) -> bytes:
    """A network of n inputs and these nodes, with an input tree of this many leaves over one case."""
    named = [{"name": f"y{k}", **node} for k, node in enumerate(nodes)]
    network = {"input": "x", "shape": [n], "nodes": named}
    signed = digest(network, arrays)
    arrays = arrays | {
        "t": np.zeros((1, 2), "<i4"), "v": np.concatenate([np.zeros(leaves - 1), -np.ones(leaves)]).astype("<i4"),
        "p": np.zeros(leaves - 1), "q": np.full((leaves, 1), 1 << 15, "<u2"),
    }
    ends = ["0"] * min(n, 4 * 10**6)
    case = {"low": ends, "high": ends, "disjuncts": [[{"output": [[0, "1"]], "input": [], "offset": "1"}]]}
    header = {
        "format": VERSIONS[-1], "level": "R", "network": network, "digest": signed, "source": None, "cases": [case],
        "layers": [], "boxes": [{"tasks": "t", "variable": "v", "point": "p", "weight": "q"}], "searches": [],
        "arrays": [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    body = len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in arrays.values())
    return MAGIC + zlib.compress(body, 9)


def models() -> Iterator[File]:
    """Constants and values of declared sizes that nothing in the file holds."""
    for size in (10**7, 10**9, 10**11):
        shape = integers(1, size)
        yield model(f"constant-{size}", helper.make_node("ConstantOfShape", ["s"], ["c"]), add("c"), s=shape)
        yield model(f"expand-{size}", helper.make_node("Expand", ["x", "s"], ["y"]), s=shape)
        yield model(f"tile-{size}", helper.make_node("Tile", ["x", "s"], ["y"]), s=integers(1, size))
        yield model(f"pad-{size}", helper.make_node("Pad", ["x", "s"], ["y"]), s=integers(0, 0, 0, size))
        spread = np.array([1, size], np.float32)
        yield model(f"resize-{size}", helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest"), s=spread)
        ends = {"a": scalar(0), "b": scalar(size), "k": scalar(1)}
        yield model(f"range-{size}", helper.make_node("Range", ["a", "b", "k"], ["c"]), add("c"), **ends)
    declared = numpy_helper.from_array(np.zeros((1, 1), np.float32), "w")
    declared.dims[:] = [10**6, 10**6]
    node = helper.make_node("Gemm", ["x", "w"], ["y"])
    yield model_of("declared", [node], [declared])


def model(name: str, *nodes: Any, **constants: np.ndarray) -> File:
    return model_of(name, list(nodes), [numpy_helper.from_array(value, key) for key, value in constants.items()])


def model_of(name: str, nodes: list[Any], stored: list[Any]) -> File:
    ends = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in (("x", [1, 1]), ("y", None))]
    graph = helper.make_graph(nodes, "hostile", ends[:1], ends[1:], stored)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return f"{name}.onnx", proto.SerializeToString(), ["inspect", "{}"]


def add(name: str) -> Any:
    return helper.make_node("Add", ["x", name], ["y"])


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def scalar(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def properties() -> Iterator[File]:
    """Numbers, products and disjunctions that grow when they are multiplied out."""
    head = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))(assert (<= X_0 1))"
    either = "(or (<= Y_0 1) (<= Y_0 2))"
    deep, wide = "(* 1.5 " * 20_000 + "X_0" + ")" * 20_000, " ".join(["1e300"] * 400)
    texts = {
        "declared": "(declare-const X_999999999 Real)(declare-const Y_0 Real)(assert (>= Y_0 0))",
        "exponent": f"{head}(assert (>= Y_0 1e999999999))",
        "digits": f"{head}(assert (>= Y_0 {'9' * 5_000_000}))",
        "product": f"{head}(assert (>= Y_0 (* {wide})))",
        "deep": f"{head}(assert (>= Y_0 {deep}))",
        "normal-form": f"{head}(assert (and {' '.join([either] * 64)}))",
        "open": f"{head}(assert {'(and ' * 500_000}",
    }
    for name, text in texts.items():
        yield f"{name}.vnnlib", text.encode(), ["vnnlib", "MODEL", "{}", "--timeout", "10"]
    packed = zlib.compressobj(9, wbits=31)
    bomb = packed.compress(b" " * (1 << 29)) + packed.flush()
    yield "spaces.vnnlib.gz", bomb, ["vnnlib", "MODEL", "{}", "--timeout", "10"]


COMMAND = ["certify", "MODEL", "--data", "{}", "--eps", "0.1", "--out", "RUN"]


def data() -> Iterator[File]:
    """Array files that declare more samples than they hold, and one that holds a bomb."""
    for size, held in ((10**9, 4), (10**12, 4), (10**8, 4 * 10**8)):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size}, 1), }}".ljust(117) + "\n"
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(held)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("x.npy", array)
            packed.writestr("y.npy", array)
        del array
        yield f"samples-{size}.npz", file.getvalue(), COMMAND


KINDS: dict[str, Callable[[], Iterator[File]]] = {
    "certificate": certificates, "model": models, "property": properties, "data": data,
}


def peak(command: list[str]) -> tuple[int, float, str]:
    """(bytes, seconds, last line) of a process, which is killed after SECONDS."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, preexec_fn=lambda: os.setpgid(0, 0))
        while True:
            pid, _, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - start > SECONDS:
                process.kill()
            time.sleep(0.01)
        told.seek(0)
        lines = told.read().decode(errors="replace").strip().splitlines()
    return usage.ru_maxrss * 1024, time.monotonic() - start, lines[-1] if lines else ""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kinds", default=",".join(KINDS))
    worst, count = 0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        name, body, _ = model("plain", helper.make_node("Concat", ["x", "x"], ["y"], axis=1))
        (folder / name).write_bytes(body)
        for kind in options.parse_args().kinds.split(","):
            for name, body, arguments in KINDS[kind]():
                path = folder / name
                path.write_bytes(body)
                words = {"{}": str(path), "MODEL": str(folder / "plain.onnx"), "RUN": str(folder / f"run{count}")}
                taken, seconds, line = peak([sys.executable, "-c", RUN, *(words.get(a, a) for a in arguments)])
                mark = "OVER" if taken > LIMIT or seconds > SECONDS else ""
                shown = line.replace(place, "")[:110]
                print(f"| {name} | {len(body):,} | {taken >> 20} | {seconds:.1f} | {mark} | {shown} |", flush=True)
                worst, count = max(worst, taken), count + 1
                path.unlink()
    print(f"{count} files, at most {worst >> 20} MiB")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())

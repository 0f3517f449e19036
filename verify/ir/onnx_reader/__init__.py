"""The ONNX front-end: one .onnx or .onnx.gz file in, one `Network` out.

The network is the function of one sample. Each varying tensor has its ONNX shape at batch 1 and may have a batch axis,
which its IR shape leaves out; `values` tells how, and how a model with a symbolic batch axis is proved to treat the
samples of a batch one by one. `model` opens the file and walks the nodes, `fold` evaluates what depends on constants
alone, `reader` holds what the translations share, and each remaining file translates one group of operators.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verify.ir.graph import Network


def read_onnx(path: str | Path) -> Network:
    """The network of an ONNX file (opsets 8 to 23, one input, one output), parameters in the input's float type.

    Raises InputError for a file that is missing, broken or of another form, and UnsupportedOp, naming the node, for
    what no operator family covers.
    """
    from verify.ir.onnx_reader.model import read  # onnx is imported with the first model

    return read(Path(path))

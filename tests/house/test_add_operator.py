"""An operator is one record, and one line in each front-end."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

from verify.registry import PACKAGE

RECORD = '''

@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class HardSwish(Curve):
    """x min(max(x + 3, 0), 6) / 6: a parabola between two lines."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return Fraction(-3), Fraction(3)

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return Curvature.LINEAR, Curvature.CONVEX, Curvature.LINEAR

    @property
    def turns(self) -> tuple[float, ...]:
        return -3.0, -1.5

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0] * ((xs[0] + 3) / 6).clamp(0, 1)

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return (torch.zeros_like(x), x / 3 + 0.5, torch.ones_like(x))[piece]
'''
TABLE = "PLAIN: dict[str, Op] = {\n"
ADDED = {  # file: where, and what is written there
    "ops/smooth.py": ("", RECORD),
    "ir/aten_ops.py": (TABLE, '    "hardswish.default": smooth.HardSwish(),\n'),
    "ir/onnx_reader/elementwise.py": (TABLE, '    "HardSwish": smooth.HardSwish(),\n'),
}
SESSION = """
import numpy as np, onnx, torch, verify
from onnx import TensorProto, helper, numpy_helper
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Hardswish(), torch.nn.Linear(5, 3))
first, second = ([p.detach().numpy() for p in module[i].parameters()] for i in (0, 2))
weights = dict(zip("abcd", (first[0].T, first[1], second[0].T, second[1])))
nodes = [helper.make_node("Gemm", ["x", "a", "b"], ["h"]), helper.make_node("HardSwish", ["h"], ["s"]),
         helper.make_node("Gemm", ["s", "c", "d"], ["y"])]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
stored = [numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in weights.items()]
graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), "net.onnx")
x = torch.full((1, 3), 0.5)
for network in (verify.trace(module, x), verify.load("net.onnx")):
    assert "HardSwish" in {type(node.op).__name__ for node in network.graph.nodes}
    problem = verify.robustness(network, x, network(x).argmax(1), eps="1/10")
    brackets = [verify.solve(problem, m) for m in (verify.PGD(stop_when_falsified=False), verify.Interval(),
                verify.CROWN(), verify.AlphaCROWN(), verify.LP(), verify.BranchAndBound(goal="optimum"))]
    lower, upper = brackets[0].lower.item(), [b.upper.item() for b in brackets[1:]]
    assert all(lower <= u for u in upper) and upper[-1] - lower < 1e-3, (lower, upper)
print("bounded")
"""


def test_an_operator_is_one_record_and_a_line_in_each_front_end(tmp_path: Path) -> None:
    """HardSwish, which torch and ONNX have and the package has not, in a copy of it."""
    copy = tmp_path / "verify"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "models"))
    for name, (place, text) in ADDED.items():
        before = (copy / name).read_text()
        assert before.count(place) == 1 or not place
        (copy / name).write_text(before.replace(place, place + text) if place else before + text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", SESSION], cwd=tmp_path, env=environment, capture_output=True,
                          text=True, check=False)
    assert done.stdout.strip() == "bounded", done.stderr
    files = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "models" not in path.parts]
    touched = {str(name) for name in files if not filecmp.cmp(PACKAGE / name, copy / name, shallow=False)}
    print(f"files touched: {', '.join(sorted(touched))}")
    assert touched == ADDED.keys()
    lines = {name: text.strip("\n").count("\n") + 1 for name, (_, text) in ADDED.items()}
    assert [lines[name] for name in touched - {"ops/smooth.py"}] == [1, 1]

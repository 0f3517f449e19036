"""An operator is one record, and one line in each front-end."""

from __future__ import annotations

from pathlib import Path

from tests.support.added import Copy

RECORD = '''

@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Asinh(Curve):
    """log(x + sqrt(x^2 + 1)), convex below 0 and concave above."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),)

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return Curvature.CONVEX, Curvature.CONCAVE

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.asinh(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return 1 / torch.hypot(x, torch.ones_like(x))
'''
TABLE = "PLAIN: dict[str, Op] = {\n"
ADDED = {  # file: where, and what is written there
    "verify/ops/smooth/power.py": ("", RECORD),
    "verify/ir/aten_ops.py": (TABLE, '    "asinh.default": power.Asinh(),\n'),
    "verify/ir/onnx_reader/elementwise.py": (TABLE, '    "Asinh": power.Asinh(),\n'),
}
SESSION = """
import numpy as np, onnx, torch, verify
from onnx import TensorProto, helper, numpy_helper
torch.manual_seed(0)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 5), torch.nn.Linear(5, 3)

    def forward(self, x):
        return self.second(torch.asinh(self.first(x)))


module = Net()
first, second = ([p.detach().numpy() for p in part.parameters()] for part in (module.first, module.second))
weights = dict(zip("abcd", (first[0].T, first[1], second[0].T, second[1])))
nodes = [helper.make_node("Gemm", ["x", "a", "b"], ["h"]), helper.make_node("Asinh", ["h"], ["s"]),
         helper.make_node("Gemm", ["s", "c", "d"], ["y"])]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
stored = [numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in weights.items()]
graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), "net.onnx")
x = torch.full((1, 3), 0.5)
for network in (verify.trace(module, x), verify.load("net.onnx")):
    assert "Asinh" in {type(node.op).__name__ for node in network.graph.nodes}
    problem = verify.robustness(network, x, network(x).argmax(1), eps="1/10")
    brackets = [verify.solve(problem, m) for m in (verify.PGD(stop_when_falsified=False), verify.Interval(),
                verify.CROWN(), verify.AlphaCROWN(), verify.LP(), verify.BranchAndBound(goal="optimum"))]
    lower, upper = brackets[0].lower.item(), [b.upper.item() for b in brackets[1:]]
    assert all(lower <= u for u in upper) and upper[-1] - lower < 1e-3, (lower, upper)
print("bounded")
"""


def test_an_operator_is_one_record_and_a_line_in_each_front_end(tmp_path: Path) -> None:
    """The inverse hyperbolic sine, which torch and ONNX have and the package has not, in a copy of it."""
    copy = Copy(tmp_path, {})
    for name, (place, text) in ADDED.items():
        file = tmp_path / name
        before = file.read_text()
        assert before.count(place) == 1 or not place
        file.write_text(before.replace(place, place + text) if place else before + text)
    assert copy.python("-c", SESSION).strip() == "bounded"
    print(f"files touched: {', '.join(copy.touched)}")
    assert copy.touched == sorted(ADDED)
    lines = {name: text.strip("\n").count("\n") + 1 for name, (_, text) in ADDED.items()}
    assert [lines[name] for name in ADDED if name.startswith("verify/ir/")] == [1, 1]

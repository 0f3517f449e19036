"""Laws of affine ops and of pooling groups, in every geometry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.test_op_laws import test_forward_equals_the_oracle as check_forward
from tests.support.laws import cast, of_family
from verify.errors import UnsupportedOp
from verify.ops import Affine, Conv, ConvTranspose, Example, Max, axis_groups, pool_groups


@of_family(Affine)
def test_affine_facts_agree(example: Example):
    """<A x, y> = <x, A' y>; matrix = Jacobian; absolute = |matrix|; bias = forward(0)."""
    op, p = example.op, cast(example, torch.float64)
    assert isinstance(op, Affine)
    generator = torch.Generator().manual_seed(9)
    zeros = tuple(torch.zeros((2, *shape), dtype=torch.float64) for shape in example.shapes)
    at_zero = op.forward(p, *zeros)
    shape = tuple(at_zero.shape[1:])
    bias = op.bias(p)
    torch.testing.assert_close(at_zero, torch.zeros_like(at_zero) if bias is None else bias.expand(at_zero.shape))
    assert bias is None or not op.is_move
    for k, inputs in enumerate(example.shapes):
        x = torch.randn((2, *inputs), generator=generator, dtype=torch.float64)
        y = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
        left = (op.linear(p, k, x) * y).flatten(1).sum(1)
        back = op.adjoint(p, k, y, inputs)
        assert back.shape == x.shape
        torch.testing.assert_close(left, (x * back).flatten(1).sum(1))
        matrix = torch.from_numpy(op.matrix(p, k, inputs, shape).toarray())
        assert (matrix >= 0).all() or not op.is_monotone
        assert ((matrix == 0) | (matrix == 1)).all() or not op.is_move

        def single(v: Tensor, k: int = k) -> Tensor:
            return op.forward(p, *(v[None] if i == k else z[:1] for i, z in enumerate(zeros)))[0]

        jacobian = torch.func.jacrev(single)(x[0])
        torch.testing.assert_close(matrix, jacobian.reshape(matrix.shape))
        torch.testing.assert_close(op.absolute(p, k, x).flatten(1), x.flatten(1) @ matrix.abs().T)


@st.composite
def convolutions(draw: st.DrawFn) -> Example:
    rank, groups = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    stride, dilation, kernel = (tuple(draw(st.integers(1, 3)) for _ in range(rank)) for _ in range(3))
    span = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple(draw(st.integers(0, n)) for n in span)
    size = tuple(draw(st.integers(max(1, n + 1 - 2 * q), 9)) for n, q in zip(span, padding, strict=True))
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    if draw(st.booleans()):
        weight = torch.randn((channels[1], channels[0] // groups, *kernel), generator=generator)
        return Example(Conv(stride, padding, dilation, groups), (weight,), ((channels[0], *size),))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    room = zip(size, stride, span, extra, strict=True)
    padding = tuple(min(q, ((n - 1) * s + w + e) // 2) for q, (n, s, w, e) in zip(padding, room, strict=True))
    weight = torch.randn((channels[0], channels[1] // groups, *kernel), generator=generator)
    return Example(ConvTranspose(stride, padding, extra, dilation, groups), (weight,), ((channels[0], *size),))


@given(convolutions())
@settings(deadline=None, max_examples=60)
def test_convolutions_of_any_geometry(example: Example):
    test_affine_facts_agree(example)
    check_forward(example, torch.float64)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_pool_groups_equal_torch(data: st.DataObject):
    rank = data.draw(st.integers(1, 3))
    kernel, stride, dilation = (tuple(data.draw(st.integers(1, 3)) for _ in range(rank)) for _ in range(3))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    ceil_mode = data.draw(st.booleans())
    size = tuple(data.draw(st.integers(d * (k - 1) + 1, 7)) for d, k in zip(dilation, kernel, strict=True))
    x = torch.randn((2, 2, *size), generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9))))
    pool = (torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d, torch.nn.functional.max_pool3d)[rank - 1]
    expected = pool(x, kernel, stride, padding, dilation, ceil_mode)
    groups = pool_groups((2, *size), kernel, stride, padding, dilation, ceil_mode)
    assert torch.equal(Max().forward((groups,), x), expected)


def test_pool_groups_refuse_a_window_of_padding_alone():
    with pytest.raises(UnsupportedOp, match="padding alone"):
        pool_groups((1, 1), (2,), (1,), (2,), (3,))


@pytest.mark.parametrize(("axes", "keepdim"), [((0,), False), ((1, 2), True), ((2, 0), False)])
def test_axis_groups_equal_amax(axes: tuple[int, ...], keepdim: bool):
    x = torch.randn((2, 3, 4, 2), generator=torch.Generator().manual_seed(0))
    expected = x.amax([i + 1 for i in axes], keepdim)
    assert torch.equal(Max().forward((axis_groups((3, 4, 2), axes, keepdim),), x), expected)

"""What a user gives a function of samples: a model of any kind, samples, labels. One place decides what is accepted."""

from __future__ import annotations

from torch import Tensor

from verify.errors import InputError
from verify.ir.graph import Network
from verify.ir.opaque.entry import Model, opaque
from verify.problem import check_shape, samples_of


def given(model: Network | Model, x: object) -> tuple[Network, Tensor]:
    """The network of a model and its samples (batch, *shape).

    Args:
        model: a network of `verify.load` or `verify.trace`; or what `verify.opaque` takes, which is only executed.
        x: at least one sample, a tensor or an array of floats; in the floats of a model that is only executed.

    Raises InputError for anything else.
    """
    x = samples_of(x)
    if x.dim() and not len(x):
        raise InputError(f"x has shape {tuple(x.shape)}, no sample; give at least one")
    if not isinstance(model, Network):
        return opaque(model, x), x
    if x.dim() == len(model.input_shape):
        raise InputError(f"x has shape {tuple(x.shape)}, one sample; add a batch axis with x[None]")
    check_shape(tuple(x.shape[1:]), model)
    return model, x

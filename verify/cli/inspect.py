"""`verify inspect`: the network as the toolkit sees it."""

from __future__ import annotations

from typing import Annotated

import typer

from verify.cli.options import DATA_HELP, EPS_HELP, Clip, Model, Norm, Normalize, TrustCode, Weights


def inspect(
    model: Model,
    weights: Weights = None,
    trust_code: TrustCode = False,
    normalize: Normalize = None,
    eps: Annotated[str | None, typer.Option(
        metavar="E", help=f"also count unstable neurons around samples of --data; {EPS_HELP}")] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help=DATA_HELP)] = None,
    norm: Norm = "linf",
    clip: Clip = "0,1",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="number of samples, from the first")] = 20,
) -> None:
    """Show a network, one node a line, and its unstable neurons."""
    from verify.report.inspect import node_lines, unstable_lines
    from verify.runs.certification.session import Request, network_of, prepare

    if eps is None or data is None:
        if eps is not data:
            raise typer.BadParameter("--eps and --data go together; give both or neither")
        print("\n".join(node_lines(network_of(model, weights, normalize, trust_code))))
        return
    session = prepare(Request(model, data, eps, weights, norm, clip, normalize, limit, methods="interval",
                              trust_code=trust_code))
    (problem, *_) = session.cascade.problems.values()
    print("\n".join([*node_lines(session.network), "", *unstable_lines(problem)]))

"""`verify inspect`: the network as the toolkit sees it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from verify.cli import options
from verify.runs.request import CertifyRequest


@options.shares(CertifyRequest, without=("data", "limit", "methods", "timeout"))
def inspect(
    *,
    eps: Annotated[str | None, typer.Option(
        metavar="E", help=f"also count unstable neurons around samples of --data; {options.EPS_HELP}")] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help=options.DATA_HELP)] = None,
    shared: dict[str, Any],
    limit: options.Limit = 20,
) -> None:
    """Show a network, one node a line, and its unstable neurons; of a model that can only be attacked, why."""
    from verify.ir.opaque.entry import attackable
    from verify.report.inspect import node_lines, unstable_lines
    from verify.runs.certification.session import prepare
    from verify.runs.subject import network_of

    if eps is None or data is None:
        if eps is not data:
            raise typer.BadParameter("--eps and --data go together; give both or neither")
        network = network_of(shared["model"], shared["weights"], shared["normalize"], shared["trust_code"],
                             reader=attackable)
        print("\n".join(node_lines(network)))
        return
    session = prepare(CertifyRequest(**shared, data=data, eps=eps, limit=limit, methods="interval"))
    (problem, *_) = session.cascade.problems.values()
    print("\n".join([*node_lines(problem.network), "", *unstable_lines(problem)]))

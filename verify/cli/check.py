"""`verify check`: is a certificate a proof?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    certificate: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="the file to check", show_default=False)],
    model: Annotated[Path | None, typer.Argument(
        metavar="MODEL.onnx[.gz]", help="the file that it should speak of", show_default=False)] = None,
    prop: Annotated[Path | None, typer.Argument(
        metavar="PROPERTY.vnnlib[.gz]", help="the property that it should be of", show_default=False)] = None,
    level: Annotated[str | None, typer.Option(
        metavar="R|F", help="real arithmetic, or float32 execution too; by default as the certificate says",
        show_default=False)] = None,
    exact: Annotated[bool, typer.Option(
        "--exact", help="in rationals instead of outward-rounded float64; for small networks")] = False,
) -> None:
    """Check a certificate with the independent checker: accepted, or rejected with the first reason.

    The checker reads the model itself and rejects a certificate of another network. The property is read by this
    toolkit. The exit code is 0 for accepted, 1 for rejected, 3 where the checker cannot read the model.
    """
    from verify.check.__main__ import show
    from verify.runs.evidence.certificates import checked

    raise typer.Exit(show(checked(certificate, model, prop, level=level, exact=exact)))

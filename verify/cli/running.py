"""What the commands that keep a run have in common: the folder, the bar, the result and the exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Running:
    """The options of a run as the user gave them; see `verify.cli.options`."""

    workers: int | None
    ray: str | None
    out: Path | None
    resume: bool
    json: bool

    def carry_out(self, session: Any, table: Callable[[str, Any], RenderableType]) -> tuple[Path, Any]:
        """Warns, does what the run folder lacks, and prints the summary as JSON or as this table of (title, summary).
        Returns the folder and the summary.

        session: of one of the rooms of `verify/runs/`, such as `AttackSession`.
        """
        from verify.cli import output
        from verify.runs.engine.run_folder import Parallelism, fresh_folder

        output.warn(session.warnings)
        place = self.out if self.out or self.resume else fresh_folder(session.request.model)
        told = output.kept(place if self.out is None else None)
        with told, output.verdicts(len(session.job.x)) as on_progress:
            parallelism = Parallelism(self.workers, self.ray)
            folder, summary = session.run(place, on_progress, resume=self.resume, parallelism=parallelism)
        if self.json:
            found = {"title": session.title, "run": str(folder), "config": session.config}
            output.print_json({**found, **summary.as_json()})
        else:
            output.show(table(session.title, summary))
        return folder, summary

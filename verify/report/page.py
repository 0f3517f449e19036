"""The report of runs: one HTML page that holds all it needs and asks the network for nothing.

Whatever comes from a run is escaped by the template, or is JSON that the page's script shows as text. A content policy
lets the browser run that one script and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from verify.report import figures, plots, svg
from verify.report.figures import Level
from verify.report.rows import Gallery, Rows, rows_of
from verify.runs.certification.records import Run
from verify.runs.certification.summary import measure
from verify.runs.engine.files import write_whole

FOLDER = Path(__file__).parent
PICTURES = 3_000_000  # characters that the pictures of a page may take
MOST_REASONS = 12


@dataclass(frozen=True)
class Section:
    """What the template shows of one run."""

    number: int
    title: str
    folder: str
    question: str
    has_classes: bool
    missing: int
    levels: list[Level]
    curve: plots.Plot | None
    brackets: list[tuple[str, plots.Plot]]
    costs: list[figures.Cost]
    implied: int
    trusts: list[tuple[str, str, int]]
    reasons: list[tuple[str, str, int]]
    more_reasons: int
    remarks: list[tuple[str, int]]
    gallery: Gallery
    rows: Rows
    training: list[plots.Plot]
    facts: list[tuple[str, list[tuple[str, str]]]]


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Writes the page of these runs, whole or not at all."""
    write_whole(path, page(runs))


def page(runs: Sequence[Run]) -> str:
    """The page as text."""
    sections = []
    room = PICTURES
    for number, run in enumerate((run.as_typed for run in runs), 1):
        rows, gallery = rows_of(run, clip_of(run), room)
        room -= rows.picture_size + gallery.picture_size
        sections.append(_section(number, run, rows, gallery))
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {"percent": svg.percent, "word": figures.word, "measure": measure}
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.jinja").render(
        sections=sections,
        pareto=plots.pareto([(s.title, s.levels) for s in sections]) if len(sections) > 1 else None,
        shapes=svg.SHAPES,
        kinds=figures.KINDS,
        data=[section.rows.as_json() for section in sections],
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
    )


def clip_of(run: Run) -> tuple[float, float] | None:
    """The range of valid inputs, if the run has one."""
    clip = run.config.get("clip")
    return (float(Fraction(str(clip[0]))), float(Fraction(str(clip[1])))) if clip else None


def title_of(run: Run) -> str:
    """What was asked of what, as the user named it, or by its digest."""
    model, data = (run.request.get(name) or f"{name} {str(run.config.get(name))[:12]}" for name in ("model", "data"))
    return f"{model} on {data}"


def _section(number: int, run: Run, rows: Rows, gallery: Gallery) -> Section:
    levels, reasons = figures.levels(run), figures.reasons(run)
    drawn = [(eps, plot) for eps in run.eps if (plot := plots.brackets(run, eps)) is not None]
    clip, asked = run.config.get("clip"), run.config.get("eps", [])
    typed = str(run.request["clip"]).split(",") if "clip" in run.request else clip
    within = f"clip [{', '.join(str(end).strip() for end in typed)}]" if clip and typed else "no clip"
    ball = f"{run.config.get('set', run.config.get('norm', 'linf'))} eps {', '.join(run.eps)}"
    return Section(
        number=number,
        title=title_of(run),
        folder=str(run.folder),
        question=", ".join(filter(None, (ball, within, run.config.get("goal"), f"{run.samples} samples"))),
        has_classes=run.has_classes,
        missing=run.samples * max(len(run.eps), len(asked)) - len(run.records),
        levels=levels,
        curve=plots.robustness_curve(levels, measure(run.has_classes)) if len(levels) > 1 else None,
        brackets=drawn,
        costs=figures.costs(run),
        implied=figures.implied(run),
        trusts=figures.trusts(run),
        reasons=reasons[:MOST_REASONS],
        more_reasons=len(reasons[MOST_REASONS:]),
        remarks=figures.remarks(run),
        gallery=gallery,
        rows=rows,
        training=plots.training(run),
        facts=_facts(run),
    )


def _facts(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Configuration, request and versions as names and texts."""
    config = {name: value for name, value in run.config.items() if name != "methods"}
    started = datetime.fromtimestamp(run.started, UTC).strftime("%Y-%m-%d %H:%M UTC")
    place = {"folder": str(run.folder), "started": started}
    groups = {"Run": place, "Asked": run.request, "Configuration": config,
              "Methods": run.config.get("methods", {}), "Versions": run.versions}
    shown = {name: [(str(key), _shown(value)) for key, value in group.items()] for name, group in groups.items()}
    return [(name, facts) for name, facts in shown.items() if facts]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, default=str)

"""Tables of a campaign over benchmark families, drawn with Rich."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verify.proof.prover import AS_EXPORTED
from verify.report.table import headed, line
from verify.runs.competition.scores import Score

WORDS = ("unsat", "sat", "unknown", "timeout", "error")


def campaign(found: dict[str, Score]) -> Group:
    """Verdicts and seconds of every family, seconds beside published ones, wrong verdicts and reasons of errors."""
    parts: list[RenderableType] = [_verdicts(found), Text(), _known_and_seconds(found)]
    if any(score.peers for score in found.values()):
        parts += [Text(), _peers(found)]
    wrong = [text for score in found.values() for text in score.wrong]
    errors = [f"{count} x error: {why}" for score in found.values() for why, count in score.reasons.items()]
    errors += [f"{count} x {why}" for score in found.values() for why, count in score.uncertified.items()]
    errors += [f"{score.uncompared} of the certificates for {name} are {AS_EXPORTED}"
               for name, score in found.items() if score.uncompared]
    lines = [line(f"WRONG: {text}", "bold red") for text in wrong] + [line(text) for text in errors]
    return Group(*parts, *([Text(), *lines] if lines else []))


def _verdicts(found: dict[str, Score]) -> Table:
    proved = any(score.certified is not None for score in found.values())
    table = _table("family", "solved", *WORDS, *(["certified"] if proved else []))
    for family, score in found.items():
        counts = [str(score.answers.get(word, 0)) for word in WORDS]
        counts += [str(score.certified or 0)] if proved else []
        table.add_row(family, f"{score.solved}/{score.instances}", *counts)
    return table


def _known_and_seconds(found: dict[str, Score]) -> Table:
    table = _table("family", "known", "wrong", "new", "total s", "median s", "worst s")
    for family, score in found.items():
        known = [f"{score.right}/{score.known}", str(len(score.wrong)), str(score.new)] if score.known else ["-"] * 3
        table.add_row(family, *known, f"{score.total:.1f}", f"{score.median:.3f}", f"{score.worst:.2f}")
    return table


def _peers(found: dict[str, Score]) -> Table:
    table = _table("family", "both solved", "published tool", "our s", "its s", "ratio")
    for family, score in found.items():
        for tool, peer in score.peers.items():
            ratio = f"{peer.ours / peer.theirs:.3f}"
            table.add_row(family, str(peer.instances), tool, f"{peer.ours:.1f}", f"{peer.theirs:.1f}", ratio)
    return table


def _table(first: str, *columns: str) -> Table:
    """A table of numbers with names in its first column."""
    table = headed(first)
    for name in columns:
        table.add_column(name, justify="right")
    return table

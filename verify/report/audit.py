"""The table of an audit, drawn with Rich."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verify.report.table import headed, line
from verify.runs.competition.audit import ClaimStatus
from verify.runs.competition.foreign_results import SAT, UNSAT

CLAIMS = (SAT, UNSAT, "neither")


def audited(findings: list[dict[str, Any]]) -> Group:
    """Counts by family and claim, every refuted row, why rows are open, witnesses of one level, what proofs trust."""
    parts: list[RenderableType] = [_counts(findings)]
    refuted = [f for f in findings if f["status"] == ClaimStatus.REFUTED]
    still_open = Counter(f["reason"] for f in findings if f["status"] == ClaimStatus.OPEN)
    remarks = Counter(remark for f in findings if (remark := f.get("witness", {}).get("remark")))
    trusts: dict[str, list[str]] = {}
    for f in findings:
        if f["trusts"] and f["method"] not in trusts.setdefault(f["trusts"], []):
            trusts[f["trusts"]].append(f["method"])
    lines = [line(f"REFUTED: line {f['line']}, {_named(f)}: {f['result']}; {f['reason']}", "bold red") for f in refuted]
    lines += [line(f"{count} x open: {reason}") for reason, count in still_open.most_common()]
    lines += [line(f"{count} x witness {remark}") for remark, count in remarks.items()]
    lines += [line(f"what is proved trusts {what} ({', '.join(names)})", "italic") for what, names in trusts.items()]
    return Group(*parts, *([Text(), *lines] if lines else []))


def _counts(findings: list[dict[str, Any]]) -> Table:
    table = headed("family", "claimed")
    for name in ("rows", *ClaimStatus):
        table.add_column(str(name), justify="right")
    for family in dict.fromkeys(f["family"] for f in findings):
        for claim in CLAIMS:
            rows = [f["status"] for f in findings if f["family"] == family and _claimed(f) == claim]
            if rows:
                table.add_row(family, claim, str(len(rows)), *(str(rows.count(status)) for status in ClaimStatus))
    return table


def _claimed(finding: dict[str, Any]) -> str:
    return finding["result"] if finding["result"] in CLAIMS else CLAIMS[-1]


def _named(finding: dict[str, Any]) -> str:
    return f"{finding['family']} {finding['onnx']} {finding['vnnlib']}"

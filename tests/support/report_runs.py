"""Runs for the tests of reports and exports, put into stores by hand: every kind of result, and texts that bite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from verify.runs.engine.store import Store

NASTY = "<script>alert(1)</script> \"quotes\" & 'more' \u2028 <!-- </script>"
VERSIONS = {"python": "3.11.0", "verify-nn": "0.1.0"}
SHAPE = (1, 8, 8)


def config(samples: int, eps: list[str], **more: Any) -> dict[str, Any]:
    methods = {"interval": "Interval()", "pgd": "PGD()", "crown": "CROWN()"}
    return {"command": "certify", "model": "0123456789abcdef" * 4, "data": "fedcba9876543210" * 4, "samples": samples,
            "eps": eps, "norm": "linf", "clip": ["0", "1"], "methods": methods, "device": "cpu", **more}


def payload(
    index: int, eps: str = "1/10", verdict: str = "verified", method: str | None = "interval", **more: Any
) -> dict[str, Any]:
    """A result of the schema; bounds that suit the verdict."""
    lower = {"falsified": 0.25, "unknown": -0.5, "error": None}.get(verdict, -2.0)
    upper = {"unknown": 0.75, "verified": -0.125 * (index + 1), "certified": -0.5}.get(verdict)
    effort = {"lower": lower, "upper": upper, "seconds": 0.25, "memory": 512.0}
    tried = {"clean": {"lower": -2.0, "upper": None, "seconds": 0.125, "memory": 256.0}}
    return {"index": index, "eps": eps, "label": index % 10, "prediction": index % 10, "verdict": verdict,
            "method": method, "lower": lower, "upper": upper,
            "reason": "the bounds leave a gap" if method is None else "",
            "trusts": "float rounding" if verdict == "verified" else "",
            "methods": {**tried, (method or "crown"): effort}, **more}


def kinds(eps: str = "1/10") -> list[dict[str, Any]]:
    """One result of each kind."""
    return [
        payload(0, eps),
        payload(1, eps, "certified", "crown", trusts="the checker", certificate="sample-1.certificate"),
        payload(2, eps, "falsified", "pgd", attacked=7, witness={"remark": ""}),
        payload(3, eps, "falsified", "clean", prediction=5),
        payload(4, eps, "unknown", None, reason=NASTY),
        payload(5, eps, "error", "crown", reason="crown: sides cross"),
    ]


def put(folder: Path, payloads: list[dict[str, Any]], shape: tuple[int, ...] = SHAPE, **more: Any) -> Path:
    """A run folder with these results; falsified ones that name no other eps get arrays of this shape."""
    noise = np.random.default_rng(0)
    eps = list(dict.fromkeys(p["eps"] for p in payloads))
    with Store.open(folder, config(len({p["index"] for p in payloads}), eps, **more), VERSIONS) as store:
        store.put("batch/0", {"open": []})
        for p in payloads:
            arrays = {}
            if p["verdict"] == "falsified":
                x = noise.random(shape, np.float32)
                moved = np.clip(x + noise.choice([-0.1, 0.1], shape).astype(np.float32), 0, 1)
                arrays = {"input": x, "witness": x if p["method"] == "clean" else moved}
            store.put(f"sample/{p['index']}/{p['eps']}", p, arrays)
    return folder


def many(samples: int, eps: list[str]) -> list[dict[str, Any]]:
    """Results of a run over so many samples: ever more are falsified as eps grows."""
    noise = np.random.default_rng(1)
    difficulty, found = noise.random(samples), []
    for place, each in enumerate(eps):
        for index in range(samples):
            hard = difficulty[index] * (1 + place) / len(eps)
            verdict, method = next(pair for limit, *pair in (
                (0.3, "verified", "interval"), (0.55, "verified", "crown"), (0.6, "unknown", None),
                (0.9, "falsified", "pgd"), (2.0, "falsified", "clean")) if hard < limit)
            found.append(payload(index, each, str(verdict), method))
            found[-1]["lower"] = None if verdict == "verified" else float(found[-1]["lower"] + 0.4 * noise.random())
            if found[-1]["upper"] is not None and verdict == "verified":
                found[-1]["upper"] = float(-3 * noise.random() - 0.01)
            if verdict == "falsified" and method == "pgd":
                found[-1] |= {"attacked": (index + 3) % 10, "trusts": "the network's float evaluation"}
    return found

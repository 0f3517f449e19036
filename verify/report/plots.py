"""The plots of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from markupsafe import Markup

from verify.report import svg
from verify.report.figures import KINDS, MISCLASSIFIED, Level, kind_of
from verify.runs.certification.records import ERROR, FALSIFIED, Record, Run

MOST_BARS = 2000  # of a brackets plot; of more samples, evenly spread ones are drawn
SHORTEST = 2.0  # a bar whose sides agree is drawn this long


@dataclass(frozen=True)
class Plot:
    """A drawing with the sentence that explains it."""

    drawing: Markup
    caption: str


def robustness_curve(levels: Sequence[Level], measure: str = "accuracy") -> Plot:
    """Robust accuracy, or another `measure`, against eps: a band from what is verified to what no attack has broken."""
    points = [(level.radius, level.verified / level.samples, level.attacked / level.samples) for level in levels]
    whiskers = [(level.radius, *level.interval) for level in levels]
    if points[0][0] > 0 and len({(level.samples, level.clean) for level in levels}) == 1:
        points.insert(0, (0.0, levels[0].clean / levels[0].samples, levels[0].clean / levels[0].samples))
    bottom = max(0.0, min(level.interval[0] for level in levels) // 0.1 / 10 - 0.1)
    x, y = svg.across(0.0, max(point[0] for point in points) or 1.0), svg.upward(bottom, 1.0)
    low = [(x(eps), y(least)) for eps, least, _ in points]
    high = [(x(eps), y(most)) for eps, _, most in points]
    parts = [
        svg.grid(x, y, "eps", f"robust {measure}"),
        svg.area([*high, *reversed(low)], "band"),
        svg.strokes(((x(eps), y(least), y(most)) for eps, least, most in whiskers), "whisker", 1.2),
        svg.line(high, "line attacked"), svg.line(low, "line proved"),
    ]
    for (eps, least, most), a, b in zip(points, low, high, strict=True):
        said = f"eps {svg.number(eps)}: between {svg.percent(least)} and {svg.percent(most)}"
        parts += [svg.mark(*b, "triangle", "mark attacked", said), svg.mark(*a, "circle", "mark proved", said)]
    caption = (f"The robust {measure} of these samples lies in the band: at least what is proved (circles), at most "
               "what no attack has broken (triangles). Whiskers: 95\u202f% interval for the population.")
    return Plot(svg.picture(f"robust {measure} against eps", parts), caption)


def brackets(run: Run, eps: str) -> Plot | None:
    """One vertical bar a sample from its attack to its certificate, from the safest to the most violated."""
    records = [r for r in run.records if r.eps == eps and r.verdict != ERROR and (r.lower, r.upper) != (None, None)]
    uppers = [r.upper for r in records if r.verdict != FALSIFIED]  # the others' only say how loose a bound is
    ends = sorted(end for end in (*(r.lower for r in records), *uppers) if end is not None)
    if not ends:
        return None
    shown = records if len(records) <= MOST_BARS else records[:: -(-len(records) // MOST_BARS)]
    shown = sorted(shown, key=_safety)
    y = _violations(ends)
    step = (svg.WIDTH - svg.RIGHT - svg.LEFT) / len(shown)
    whole: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in KINDS}
    half: list[tuple[float, float, float]] = []
    for place, record in enumerate(shown):
        x, low, high = svg.LEFT + (place + 0.5) * step, record.lower, record.upper
        if low is not None and high is not None:
            start, end = y(low), y(high)
            spread = max(0.0, SHORTEST - abs(start - end)) / 2
            whole[kind_of(record)].append((x, start + spread, end - spread))
        else:
            known = y(low if low is not None else high if high is not None else 0.0)
            whole[kind_of(record)].append((x, known + SHORTEST / 2, known - SHORTEST / 2))
            half.append((x, known, y.start if low is None else y.end))
    width = min(8.0, max(0.5, 0.8 * step))
    parts = [svg.grid(None, y, f"{len(shown)} samples, safest first", "violation v*", (False, False)),
             svg.strokes(half, "half", width)]
    parts += [svg.strokes(bars, f"bar {kind}", width) for kind, bars in whole.items()]
    parts += [svg.line([(svg.LEFT, y(0)), (svg.WIDTH - svg.RIGHT, y(0))], "zero")]
    parts += [svg.note(svg.LEFT + 8, y(0) - 7, "0: violated from here up"),
              svg.note(svg.WIDTH - svg.RIGHT - 4, y(0) + 16, "robust below", "end")]
    some = "" if len(shown) == len(records) else f" {len(shown)} of {len(records)} samples are drawn."
    caption = ("Each bar spans attack \u2264 v* \u2264 certificate of one sample. Faint bars have no bound on that "
               f"side, as no method needed to look for one. The scale is logarithmic away from 0.{some}")
    return Plot(svg.picture(f"brackets at eps {eps}", parts), caption)


def pareto(runs: Sequence[tuple[str, Sequence[Level]]]) -> Plot:
    """Clean against certified accuracy: one point a run and eps, a bar up to what is still undecided."""
    points = [(k, name, level) for k, (name, levels) in enumerate(runs) for level in levels]
    x = _padded([level.clean / level.samples for *_, level in points], svg.across)
    ends = [share / level.samples for *_, level in points for share in (level.verified, level.attacked)]
    y = _padded(ends, svg.upward)
    parts = [svg.grid(x, y, "clean accuracy", "certified accuracy", (True, True))]
    taken: list[tuple[float, float]] = []  # places of labels, which must not cover each other
    for k, name, level in points:
        at = x(level.clean / level.samples)
        least, most = y(level.verified / level.samples), y(level.attacked / level.samples)
        parts.append(svg.strokes([(at, least, most)], f"run{k % 6} reach", 2))
        said = f"{name}, eps {level.eps}: clean {svg.percent(level.clean / level.samples)}, certified " \
               f"{svg.percent(level.verified / level.samples)}, at most {svg.percent(level.attacked / level.samples)}"
        parts.append(svg.mark(at, least, svg.SHAPES[k % len(svg.SHAPES)], f"mark run{k % 6}", said))
        flip = at > svg.WIDTH - 130
        place = (at + (-10 if flip else 10), least + 4)
        while any(abs(place[0] - a) < 56 and abs(place[1] - b) < 12 for a, b in taken):
            place = (place[0], place[1] + 12)
        taken.append(place)
        parts.append(svg.note(*place, f"eps {level.eps}", "end" if flip else "start"))
    caption = "Each mark is proved; the bar above it reaches to what could still be true, its undecided samples."
    return Plot(svg.picture("clean against certified accuracy", parts), caption)


def training(run: Run) -> list[Plot]:
    """Accuracies of the held out samples and the loss, epoch by epoch."""
    epochs = [float(figures["epoch"]) for figures in run.epochs]
    if len(epochs) < 2:
        return []
    x = svg.across(min(epochs), max(epochs))

    def curve(name: str, y: svg.Axis) -> list[tuple[float, float]]:
        return [(x(f["epoch"]), y(f[name])) for f in run.epochs if isinstance(f.get(name), float)]

    plots = []
    styles = {"clean": "line clean", "attacked": "line attacked", "verified": "line proved"}
    share = svg.upward(0.0, 1.0)
    drawn = {name: points for name in styles if len(points := curve(name, share)) > 1}
    if drawn:
        parts = [svg.grid(x, share, "epoch", "accuracy, held out"), *(svg.line(p, styles[n]) for n, p in drawn.items())]
        parts += [svg.note(p[-1][0] - 4, p[-1][1] - 6, n, "end") for n, p in drawn.items()]
        plots.append(Plot(svg.picture("accuracies during the training", parts), "Accuracies of the held out samples."))
    losses = [figures["loss"] for figures in run.epochs]
    loss = svg.upward(min(0.0, *losses), max(losses))
    parts = [svg.grid(x, loss, "epoch", "loss", (False, False)), svg.line(curve("loss", loss), "line clean")]
    caption = "The training loss; it may rise while the radius of its threat grows."
    return [*plots, Plot(svg.picture("loss during the training", parts), caption)]


def _safety(record: Record) -> tuple[int, float]:
    """Proved ones by their certificate, then open, falsified and misclassified ones by their attack."""
    kind = kind_of(record)
    if kind in (FALSIFIED, MISCLASSIFIED):
        return (2 if kind == FALSIFIED else 3), record.lower or 0.0
    proved = record.upper is not None and record.upper < 0
    return (0 if proved else 1), (record.upper if proved else record.lower) or 0.0


def _violations(ends: list[float]) -> svg.Axis:
    """The scale of a brackets plot: all but the outermost hundredth of the ends, 0 always."""
    low, high = ends[0], ends[-1]
    if len(ends) > 100:
        cuts = quantiles(ends, n=100)
        low, high = cuts[0], cuts[-1]
    low, high = min(low, 0.0), max(high, 0.0)
    bend = median(abs(end) for end in ends) / 2 or 1.0
    room = 0.05 * max(high - low, bend)
    return svg.upward(low - room, high + room, bend)


def _padded(shares: list[float], axis: Callable[[float, float], svg.Axis]) -> svg.Axis:
    """An axis that shows these shares with some room around, within 0 and 1."""
    low, high = min(shares), max(shares)
    room = max(0.1, 0.15 * (high - low))
    return axis(max(0.0, low - room), min(1.0, high + room))

"""What the commands that look at samples ask of a model and its data, as texts; README and `--help` say what they mean.

A request knows no tensors, and its file imports nothing that does: the commands' options are made of it at start-up.
What it speaks of is read by `verify.runs.subject`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from verify.registry import Entry, default_methods

BALL = "ball"  # what surrounds a sample where nothing else is asked


@dataclass(frozen=True, kw_only=True)
class Request:
    """What all of them ask; each command adds what it alone asks in a class below."""

    model: str = field(kw_only=False)
    data: str = field(kw_only=False)
    weights: str | None = None
    trust_code: bool = False
    set: str = BALL
    norm: str = "linf"
    clip: str = "0,1"
    grid: int | None = None
    normalize: str | None = None
    threshold: str | None = None
    within: str | None = None
    bounds: str | None = None
    limit: int | None = 100
    methods: str | None = None
    timeout: float = 10.0
    device: str = "cpu"

    command: ClassVar[str] = ""  # whose methods are tried where none are named
    attacks: ClassVar[bool] = False  # whether it has something to say of a model that is only executed
    grids: ClassVar[bool] = True  # whether it has something to say of a grid

    def as_json(self) -> dict[str, Any]:
        """The texts by name; what stands here by default is left out."""
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        plain = {f.name: f.default for f in fields(self)}
        return {name: value for name, value in values.items() if value != plain[name]}

    @property
    def clip_ends(self) -> tuple[Fraction, Fraction] | None:
        """The range of valid inputs, or None."""
        from verify.runs.options import clip_of

        return clip_of(self.clip)

    @property
    def shape(self) -> str:
        """What surrounds the samples, for titles: the norm of balls, or the set; its grid."""
        return (self.norm if self.set == BALL else self.set) + (f" on the grid of 1/{self.grid}" if self.grid else "")

    @property
    def entries(self) -> dict[str, Entry]:
        """The methods by name, in their order."""
        from verify.runs.options import entries_of

        return entries_of(self.methods or default_methods(self.command))


@dataclass(frozen=True, kw_only=True)
class CertifyRequest(Request):
    """What `verify certify` asks: how many samples are robust at each radius of the comma list eps."""

    eps: str
    level: str | None = None
    proofs: Path | None = None
    batch: int | None = None

    command: ClassVar[str] = "certify"
    attacks: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class RadiusRequest(Request):
    """What `verify radius` asks: brackets of the minimal distortion, up to the radius `most`, of width `tolerance`."""

    most: str | None = None
    tolerance: str = "1%"
    batch: int | None = None

    command: ClassVar[str] = "radius"
    grids: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class GapsRequest(Request):
    """What `verify gaps` asks: what the methods leave open at each radius of the comma list eps."""

    eps: str
    limit: int | None = 20
    out: Path | None = None

    command: ClassVar[str] = "gaps"


@dataclass(frozen=True, kw_only=True)
class AttackRequest(Request):
    """What `verify attack` asks: which samples the attacks of the comma list `attack` fool at the radius eps."""

    eps: str
    attack: str = "autoattack"
    batch: int | None = None

    command: ClassVar[str] = "attack"
    attacks: ClassVar[bool] = True

    @property
    def entries(self) -> dict[str, Entry]:
        from verify.runs.options import entries_of

        return entries_of(self.attack)


@dataclass(frozen=True, kw_only=True)
class SmoothRequest(Request):
    """What `verify smooth` asks: in which L2 radius the class stays that is the most probable one under noise."""

    sigma: str
    eps: str | None = None
    draws: int = 10_000
    first: int = 100
    confidence: str = "0.999"
    seed: int = 0
    norm: str = "l2"
    clip: str = "none"

    command: ClassVar[str] = "smooth"
    attacks: ClassVar[bool] = True
    grids: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class UniversalRequest(Request):
    """What `verify universal` asks: how many samples one perturbation fools at each radius of the comma list eps."""

    eps: str
    limit: int | None = 20
    clip: str = "none"
    timeout: float = 60.0
    out: Path | None = None

    command: ClassVar[str] = "universal"
    grids: ClassVar[bool] = False

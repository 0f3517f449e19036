"""VNN-LIB 1.0 text as a disjunction of conjunctions of linear rows.

One regular expression cuts the text into tokens, and a stack reduces each expression at its closing parenthesis, so
that nothing recurses. A comparison without inner parentheses, which is what files of megabytes consist of, is a single
token; equal tokens are reduced once and share their row.

The language: (declare-const X_i Real), (declare-const Y_i Real), also written (declare-fun X_i () Real), (assert f),
and, or, <=, >=, and terms with +, - and * by constants. VNN-LIB 1.0 compares with <= and >= only; < and > are refused,
for a closed set is not the open one.

What a file may ask for is limited, so that a small one cannot take hours or gigabytes: a number has at most DIGITS
digits and an exponent of at most EXPONENT, a product of numbers at most BITS bits, and nested terms and formulas are
copied and multiplied out up to WORK variables and rows in all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import Any

from verify.deadline import check_time
from verify.errors import InputError
from verify.rows import Row

Branch = tuple[tuple[Row, ...], ...]  # a conjunction, as groups of rows; branches of one formula share groups
Formula = Row | list[Branch]
Form = dict[str, Fraction]  # a linear form: coefficient of each variable, and the constant under ""

ZERO, ONE, MINUS = Fraction(0), Fraction(1), Fraction(-1)
DIGITS, EXPONENT = 1000, 400  # of a number, which a float cannot be beyond 1e308
BITS = 10_000  # of the numerator and the denominator of a product
WORK = 2_000_000  # some seconds' worth
OFTEN = 256  # tokens between two looks at the clock
COMMENT = re.compile(r";[^\n]*")
TOKEN = re.compile(r"\(\s*[<>]=?[^()]*\)|[()]|[^\s()]+")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?", re.ASCII)
BOUND = re.compile(r"\(([<>])=\s+([XY])_(0|[1-9]\d{0,9})\s+([-+.\deE]+)\)", re.ASCII)  # of one variable by a number
VARIABLE = re.compile(r"[XY]_(?:0|[1-9]\d{0,9})", re.ASCII)


class _ReadError(Exception):
    """What is wrong at the token that is being read."""


@dataclass(frozen=True)
class Script:
    """A parsed file: numbers of variables, the branches of its normal form, and where each variable is declared."""

    source: str
    inputs: int
    outputs: int
    branches: list[Branch]
    text: str
    declared: dict[str, int]  # variable -> token

    def line(self, variable: str) -> int:
        """Line of a variable's declaration."""
        return _line(self.text, self.declared[variable])


def parse(text: str, source: str) -> Script:
    """Reads VNN-LIB text; `source` names it in messages. Raises InputError with the line of what it cannot read."""
    text = COMMENT.sub("", text)
    reader = _Reader()
    try:
        reader.read(TOKEN.findall(text))
        inputs, outputs = reader.count("X"), reader.count("Y")
        return Script(source, inputs, outputs, reader.conjunction(reader.asserted), text, reader.declared)
    except _ReadError as problem:
        raise InputError(f"{source}, line {_line(text, reader.at)}: {problem}") from None


def _line(text: str, token: int) -> int:
    found = next(islice(TOKEN.finditer(text), token, None), None)
    return text.count("\n", 0, found.start() if found else len(text)) + 1


class _Reader:
    """The stack machine. `at` is the token that is being read, or where the expression that is being reduced starts."""

    def __init__(self) -> None:
        self.at = 0
        self.work = 0
        self.declared: dict[str, int] = {}
        self.asserted: list[Formula] = []
        self.meanings: dict[str, Callable[[list[Any]], Any]] = {
            "declare-const": self.declare,
            "declare-fun": self.declare_function,
            "assert": self.assertion,
            "and": lambda items: self.conjunction(_formulas(items, "and")),
            "or": lambda items: self.disjunction(_formulas(items, "or")),
            "<=": lambda items: self.comparison(items[::-1]),
            ">=": self.comparison,
            "+": lambda items: _sum(self.terms(items)),
            "-": self.difference,
            "*": lambda items: _product(self.terms(items)),
        }

    def spend(self, amount: int, why: str = "terms and formulas are nested too deeply") -> None:
        """Counts variables and rows that are about to be copied."""
        self.work += amount
        if self.work > WORK:
            raise _ReadError(f"{why}; the file needs more than {WORK} copies of its parts, split the property")

    def read(self, tokens: list[str]) -> None:
        stack: list[list[Any]] = [[]]
        starts: list[int] = []
        rows: dict[str, Row] = {}
        for self.at, token in enumerate(tokens):
            if self.at % OFTEN == 0:
                check_time()
            if token == "(":
                stack.append([])
                starts.append(self.at)
                continue
            if token == ")":
                if not starts:
                    raise _ReadError("this ')' closes nothing; remove it")
                self.at = starts.pop()
                items = stack.pop()
                arguments = not items and stack[-1][:1] == ["declare-fun"]
                stack[-1].append(() if arguments else self.reduce(items))
            elif token[0] == "(":
                row = rows.get(token)
                if row is None:
                    row = rows[token] = self.bound(token) or self.reduce(token[1:-1].split())
                stack[-1].append(row)
            else:
                stack[-1].append(token)
            if not starts and stack[0].pop() is not None:
                raise _ReadError("a file consists of declare-const and assert commands; wrap this in (assert ...)")
        if starts:
            self.at = starts[0]
            raise _ReadError("this '(' is never closed; the file is truncated or lacks a ')'")

    def reduce(self, items: list[Any]) -> Any:
        """The meaning of one parenthesised expression: None (command), Row or branches (formula), dict (term)."""
        head = items[0] if items and isinstance(items[0], str) else ""
        if head in ("<", ">", "="):
            raise _ReadError(f"'{head}' is not part of VNN-LIB 1.0; write it with <= and >=")
        if head not in self.meanings:
            known = ", ".join(self.meanings)
            raise _ReadError(f"an expression starts with {head!r}; the reader knows {known}")
        return self.meanings[head](items[1:])

    def declare(self, items: list[Any]) -> None:
        if len(items) != 2 or not all(isinstance(item, str) for item in items):
            raise _ReadError("a declaration reads (declare-const X_0 Real)")
        name, sort = items
        if sort != "Real":
            raise _ReadError(f"{name} has sort {sort}; only Real is supported")
        if not VARIABLE.fullmatch(name):
            raise _ReadError(f"variable {name!r} is neither an input (X_0, X_1, ..) nor an output (Y_0, ..); rename it")
        if name in self.declared:
            raise _ReadError(f"{name} is declared twice; remove one declaration")
        self.declared[name] = self.at

    def declare_function(self, items: list[Any]) -> None:
        if len(items) != 3 or items[1] != ():
            raise _ReadError("a function without arguments is declared by (declare-fun X_0 () Real)")
        self.declare([items[0], items[2]])

    def assertion(self, items: list[Any]) -> None:
        if len(items) != 1:
            raise _ReadError(f"assert takes one formula but has {len(items)}; join them with and")
        self.asserted += _formulas(items, "assert")

    def bound(self, token: str) -> Row | None:
        """The row of a comparison of one variable with a number, or None for what is anything else."""
        if (match := BOUND.fullmatch(token)) is None:
            return None
        way, kind, index, text = match.groups()
        if f"{kind}_{index}" not in self.declared or not NUMBER.fullmatch(text):
            return None
        sign, value = (ONE, _number(text)) if way == ">" else (MINUS, -_number(text))
        _check_float(value)
        term = ((int(index), sign),)
        return Row((), term, value) if kind == "X" else Row(term, (), value)

    def comparison(self, items: list[Any]) -> Row:
        """left >= right, as a row."""
        if len(items) != 2:
            raise _ReadError(f"a comparison takes two terms but has {len(items)}; split it with and")
        left, right = self.terms(items)
        form = _difference(left, right)
        offset = -form.pop("", ZERO)
        if len(form) > 1:
            form = dict(sorted(form.items(), key=lambda term: int(term[0][2:])))
        output, given = (tuple((int(n[2:]), c) for n, c in form.items() if n[0] == kind and c) for kind in "YX")
        row = Row(output, given, offset)
        for value in (offset, *form.values(), row.bound[2] if row.bound else ZERO):
            _check_float(value)
        return row

    def difference(self, items: list[Any]) -> Form:
        first, *rest = self.terms(items)
        return _difference(first, _sum(rest)) if rest else _difference({}, first)

    def terms(self, items: list[Any]) -> list[Form]:
        if not items:
            raise _ReadError("an operator has no operands; remove it")
        return [self.term(item) for item in items]

    def term(self, item: Any) -> Form:
        if isinstance(item, dict):
            self.spend(len(item))
            return item
        if not isinstance(item, str):
            raise _ReadError("a formula stands where a term is expected; compare terms, join formulas with and, or")
        if item in self.declared:
            return {item: ONE}
        if NUMBER.fullmatch(item):
            return {"": _number(item)}
        if VARIABLE.fullmatch(item):
            raise _ReadError(f"{item} is not declared; add (declare-const {item} Real) before its first use")
        raise _ReadError(f"{item!r} is neither a decimal number nor a variable")

    def conjunction(self, formulas: list[Formula]) -> list[Branch]:
        """Multiplies the branches out; the rows that hold in every branch form one group, which all branches share."""
        rows: list[Row] = []
        choices: list[list[Branch]] = []
        for formula in formulas:
            if isinstance(formula, Row):
                rows.append(formula)
            elif len(formula) == 1:
                self.spend(sum(map(len, formula[0])))
                rows.extend(chain.from_iterable(formula[0]))
            else:
                choices.append(formula)
        disjuncts = math.prod(map(len, choices))
        self.spend(2 * disjuncts * len(choices), f"the formula has {disjuncts} disjuncts in normal form")
        branches: list[Branch] = [(tuple(rows),) if rows else ()]
        for choice in choices:
            branches = [branch + more for branch in branches for more in choice]
        return branches

    def disjunction(self, formulas: list[Formula]) -> list[Branch]:
        branches: list[Branch] = []
        for formula in formulas:
            if isinstance(formula, Row):
                branches.append(((formula,),))
            else:
                self.spend(len(formula))
                branches += formula
        return branches

    def count(self, kind: str) -> int:
        """Number of variables X or Y, which are numbered from 0 without gaps."""
        indices = {int(name[2:]) for name in self.declared if name[0] == kind}
        missing = next(i for i in range(len(indices) + 1) if i not in indices)
        if missing < len(indices) or not indices:
            self.at = self.declared[f"{kind}_{max(indices)}"] if indices else 0
            raise _ReadError(f"{kind}_{missing} is not declared; declare {kind}_0, {kind}_1, .. without gaps")
        return len(indices)


def _formulas(items: list[Any], head: str) -> list[Formula]:
    if not items:
        raise _ReadError(f"{head} has no operands; remove it")
    if not all(isinstance(item, Row | list) for item in items):
        raise _ReadError(f"{head} takes formulas (comparisons, and, or) but has something else; check the parentheses")
    return items


def _number(text: str) -> Fraction:
    """The rational of a decimal literal; three times as fast as Fraction(text), and most of a file is numbers."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    shift = int(exponent or 0)
    if len(mantissa) > DIGITS or abs(shift) > EXPONENT:
        raise _ReadError(f"the number {text[:20]} has too many digits (over {DIGITS}) or too large an exponent "
                         f"(over {EXPONENT}); shorten it")
    power, digits = shift - len(decimals), int(whole + decimals)
    return Fraction(digits * 10**power) if power >= 0 else Fraction(digits, 10**-power)


def _check_float(value: Fraction) -> None:
    try:
        float(value)
    except OverflowError:
        raise _ReadError("a number is too large for a float; scale the property") from None


def _sum(forms: list[Form]) -> Form:
    total: Form = {}
    for form in forms:
        for name, coefficient in form.items():
            total[name] = total[name] + coefficient if name in total else coefficient
    return total


def _difference(left: Form, right: Form) -> Form:
    total = dict(left)
    for name, coefficient in right.items():
        total[name] = total[name] - coefficient if name in total else -coefficient
    return total


def _product(forms: list[Form]) -> Form:
    product = forms[0]
    for form in forms[1:]:
        check_time()
        if not (product.keys() <= {""} or form.keys() <= {""}):
            raise _ReadError("a product of two variables is not linear; only constants may multiply a variable")
        constant, other = (product, form) if product.keys() <= {""} else (form, product)
        factor = constant.get("", ZERO)
        product = {name: factor * coefficient for name, coefficient in other.items()}
        if any(max(v.numerator.bit_length(), v.denominator.bit_length()) > BITS for v in product.values()):
            raise _ReadError(f"a product has a number of more than {BITS} bits; shorten its factors")
    return product

"""The VNN-LIB reader against an evaluator of the text, and damaged files."""

from __future__ import annotations

import gzip
import math
import random
import re
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.errors import InputError
from verify.sets import Box, Polytope
from verify.vnnlib import Property, read_vnnlib


def read(folder, text: str) -> Property:
    path = folder / "property.vnnlib"
    path.write_text(text)
    return read_vnnlib(path)


def declarations(inputs: int, outputs: int) -> str:
    names = [f"X_{i}" for i in range(inputs)] + [f"Y_{i}" for i in range(outputs)]
    return "".join(f"(declare-const {name} Real)\n" for name in names)


def unit_box(inputs: int) -> str:
    return "".join(f"(assert (>= X_{i} 0))\n(assert (<= X_{i} 1))\n" for i in range(inputs))


# -- meaning: the text itself, evaluated at points ---------------------------------------------------------------------


def evaluate(text: str, values: dict[str, Fraction]) -> bool:
    """Whether all asserted formulas of the text hold at the point; reads the text by itself, recursively."""
    tokens = iter(re.sub(r";.*", "", text).replace("(", " ( ").replace(")", " ) ").split())

    def meaning(token: str):
        if token != "(":
            return values[token] if token in values else Fraction(token)
        head, arguments = next(tokens), []
        while (token := next(tokens)) != ")":
            arguments.append(token if head == "declare-const" else meaning(token))
        match head:
            case "declare-const":
                return True
            case "assert" | "and":
                return all(arguments)
            case "or":
                return any(arguments)
            case "<=":
                return arguments[0] <= arguments[1]
            case ">=":
                return arguments[0] >= arguments[1]
            case "+":
                return sum(arguments)
            case "*":
                return math.prod(arguments)
            case "-":
                return -arguments[0] if len(arguments) == 1 else arguments[0] - sum(arguments[1:])
        raise AssertionError(head)

    return all([meaning(token) for token in tokens])


numbers = st.sampled_from(["0", "1", "-1", "0.5", "-2.25", "1.5e0", "25e-2", "+3", "-0.0", ".125", "2.", "-1E0"])
variables = st.sampled_from(["X_0", "X_1", "Y_0", "Y_1"])
gaps = st.sampled_from([" ", "  ", "\t", "\n", " ; say (>= nothing\n"])


def joined(head: str, items: st.SearchStrategy[str], least: int, most: int) -> st.SearchStrategy[str]:
    lists = st.lists(items, min_size=least, max_size=most)
    return st.builds(lambda gap, parts: f"({head}{gap}{gap.join(parts)}{gap})", gaps, lists)


constants = st.one_of(numbers, joined("+", numbers, 1, 3), joined("*", numbers, 1, 2), joined("-", numbers, 1, 2))
terms = st.recursive(
    st.one_of(numbers, variables, variables),
    lambda inner: st.one_of(
        joined("+", inner, 1, 3),
        joined("-", inner, 1, 3),
        st.builds(lambda c, t: f"(* {c} {t})", constants, inner),
        st.builds(lambda c, t: f"(* {t} {c})", constants, inner),
    ),
    max_leaves=4,
)
comparisons = st.one_of(joined("<=", terms, 2, 2), joined(">=", terms, 2, 2))
formulas = st.recursive(
    comparisons, lambda inner: st.one_of(joined("and", inner, 1, 3), joined("or", inner, 1, 3)), max_leaves=8
)
quarters = st.integers(-10, 10).map(lambda k: k / 4)
BOX = "(assert (and (<= X_0 2) (>= X_0 -2)))\n(assert (<= -2 X_1))\n(assert (<= (* 2 X_1) 4.0))\n"


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(st.lists(formulas, min_size=1, max_size=3), st.lists(st.tuples(*[quarters] * 4), min_size=6, max_size=6))
def test_a_file_means_what_its_text_evaluates_to(tmp_path_factory, asserted, points):
    text = declarations(2, 2) + BOX + "".join(f"(assert {formula})\n" for formula in asserted)
    prop = read(tmp_path_factory.getbasetemp(), text)
    inputs, spec = prop.problem_parts((2, 1), torch.float32, outputs=2)
    assert inputs.batch == spec.cases == len(prop.cases)
    assert inputs.shape == (2, 1)
    for point in points:
        values: dict[str, Fraction] = dict(zip(("X_0", "X_1", "Y_0", "Y_1"), map(Fraction, point), strict=True))
        expected = evaluate(text, values)
        x, y = np.array(point[:2], np.float32), np.array(point[2:], np.float32)
        assert prop.contains(x, y) == expected
        repeated = torch.tensor(x).reshape(1, 2, 1).repeat(spec.cases, 1, 1)
        violation = spec.violation(repeated, torch.tensor(y).repeat(spec.cases, 1))
        assert bool((inputs.contains(repeated) & (violation >= 0)).any()) == expected


def test_rows_over_inputs_alone_cut_the_set_and_mixed_rows_stay(tmp_path):
    text = declarations(2, 1) + unit_box(2) + "(assert (<= (+ X_0 (* 3 X_1)) 0.1))\n(assert (>= (- Y_0 X_1) 0.2))\n"
    (case,) = read(tmp_path, text).cases
    assert case.input_rows.tolist() == [[1, 3]]
    assert case.input_bounds.tolist() == [Fraction(1, 10)]
    ((row,),) = case.disjuncts
    assert (row.output, row.input, row.offset) == (((0, 1),), ((1, -1),), Fraction(1, 5))
    inputs, spec = read(tmp_path, text).problem_parts((2,), torch.float64)
    assert isinstance(inputs, Polytope)
    assert inputs.low.dtype == torch.float64
    assert spec.input is not None
    assert spec.input.tolist() == [[[0.0, -1.0]]]


def test_boxes_per_disjunct_become_cases_and_equal_boxes_share_one(tmp_path):
    boxes = [(0, 0.25), (0.0, 0.250), (0.5, 2)]  # the last is cut to [0.5, 1] by the global box
    disjuncts = "".join(f"(and (>= X_0 {low}) (<= X_0 {high}) (>= Y_0 {k}))" for k, (low, high) in enumerate(boxes))
    prop = read(tmp_path, declarations(1, 1) + unit_box(1) + f"(assert (or {disjuncts}))")
    assert [(case.low[0], case.high[0], len(case.disjuncts)) for case in prop.cases] == [
        (0, Fraction(1, 4), 2), (Fraction(1, 2), 1, 1),
    ]  # fmt: skip
    inputs, spec = prop.problem_parts((1,), torch.float32)
    assert isinstance(inputs, Box)
    assert spec.mask.tolist() == [[True, True], [True, False]]


def test_input_constraints_alone_are_violated_wherever_the_set_is(tmp_path):
    prop = read(tmp_path, declarations(1, 1) + unit_box(1))
    inputs, spec = prop.problem_parts((1,), torch.float32)
    assert spec.violation(inputs.low, torch.tensor([[-5.0]])).tolist() == [0.0]
    assert prop.contains(np.array([1.0]), np.array([-5.0]))


def test_empty_boxes_and_false_constants_leave_no_case(tmp_path):
    for contradiction in ("(>= X_0 2)", "(<= 1 0)", "(and (<= X_0 0.5) (or (>= X_0 0.6) (>= X_0 0.7)))"):
        prop = read(tmp_path, declarations(1, 1) + unit_box(1) + f"(assert {contradiction})")
        inputs, spec = prop.problem_parts((1,), torch.float32)
        assert prop.cases == ()
        assert inputs.batch == spec.cases == 0
        assert not prop.contains(np.array([0.5]), np.array([0.0]))


def test_offsets_round_downward_and_membership_stays_exact(tmp_path):
    prop = read(tmp_path, declarations(1, 1) + "(assert (>= X_0 0.1))(assert (<= X_0 0.1))(assert (>= Y_0 0.3))")
    inputs, spec = prop.problem_parts((1,), torch.float32)
    offset = np.float32(spec.offset.item())
    assert Fraction(float(offset)) <= Fraction(3, 10) < Fraction(float(np.nextafter(offset, np.float32(1))))
    assert inputs.low.item() < 0.1 < inputs.high.item()
    assert not prop.contains(np.array([0.1]), np.array([1.0])), "the double 0.1 is not one tenth"
    assert prop.contains(np.array([Fraction(1, 10)]), np.array([1.0]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_points_that_are_not_finite_satisfy_nothing(tmp_path, bad):
    prop = read(tmp_path, declarations(1, 1) + unit_box(1) + "(assert (or (>= Y_0 0) (<= Y_0 0)))")
    assert prop.contains(np.array([0.5]), np.array([0.0]))
    assert not prop.contains(np.array([0.5]), np.array([bad]))
    assert not prop.contains(np.array([bad]), np.array([0.0]))


# -- refusals ----------------------------------------------------------------------------------------------------------

REFUSED = {
    "implication": ("(assert\n (=> (<= X_0 1) (<= Y_0 1)))", 5, "'=>'"),
    "let": ("(assert (let ((a 1)) (<= X_0 a)))", 4, "starts with"),
    "strict": ("(assert (< Y_0 1))", 4, "write it with <= and >="),
    "equality": ("(assert (= Y_0 1))", 4, "write it with <= and >="),
    "not": ("(assert (not (<= Y_0 1)))", 4, "'not'"),
    "integer": ("(declare-const Y_1 Int)", 4, "only Real"),
    "name": ("(declare-const Z_0 Real)", 4, "neither an input"),
    "twice": ("(declare-const X_0 Real)", 4, "declared twice"),
    "gap": ("; a comment\n(declare-const Y_3 Real)", 5, "Y_1 is not declared"),
    "undeclared": ("(assert (<= X_0 1))\n(assert (or\n (<= Y_0 1)\n (<= X_1 3)))", 7, "X_1 is not declared"),
    "product": ("(assert (<= (+ 1\n (* X_0 Y_0)) 1))", 5, "product of two variables"),
    "division": ("(assert (<= (/ X_0 3) 1))", 4, "'/'"),
    "three terms": ("(assert (<= 0 X_0 1))", 4, "two terms"),
    "word": ("(assert (<= X_0 one))", 4, "'one' is neither"),
    "underscore": ("(assert (<= X_0 1_000))", 4, "'1_000' is neither"),
    "infinity": ("(assert (<= X_0 inf))", 4, "'inf' is neither"),
    "huge": ("(assert (<= X_0 1e999))", 4, "too large"),
    "enormous": ("(assert (<= X_0 1e999999999))", 4, "neither"),
    "long": (f"(assert (<= X_0 {'1' * 5000}))", 4, "too many digits"),
    "term as formula": ("(assert (and (+ X_0 1)))", 4, "takes formulas"),
    "formula as term": ("(assert (<= (<= X_0 1) 1))", 4, "a formula stands"),
    "nothing": ("(assert (or))", 4, "no operands"),
    "empty": ("()", 4, "starts with ''"),
    "bare": ("(<= X_0 1)", 4, "wrap this in"),
    "symbol": ("X_0", 4, "wrap this in"),
    "two formulas": ("(assert (<= X_0 1) (<= Y_0 1))", 4, "one formula"),
    "closing": ("(assert (<= X_0 1))\n)", 5, "closes nothing"),
    "truncated": ("(assert (<= X_0 1))\n(assert (or (and (<= Y_0 1)", 5, "never closed"),
    "missing parenthesis": ("(assert (or (<= Y_0 1))\n(assert (<= Y_0 1))\n", 4, "never closed"),
    "truncated in a number": ("(assert (<= X_0 0.", 4, "never closed"),
    "nested assert": ("(assert (and (<= X_0 1) (assert (<= X_0 1))))", 4, "takes formulas"),
}


@pytest.mark.parametrize(("text", "line", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path, text, line, said):
    with pytest.raises(InputError, match=rf"property\.vnnlib, line {line}: .*{re.escape(said)}"):
        read(tmp_path, declarations(1, 1) + "(assert (>= X_0 0))\n" + text)


def test_an_input_without_a_bound_is_refused(tmp_path):
    text = declarations(2, 1) + unit_box(1) + "(assert (or (<= X_1 1) (and (<= X_1 1) (>= X_1 0))))"
    with pytest.raises(InputError, match="line 2: X_1 has no bound from below"):
        read(tmp_path, text)
    with pytest.raises(InputError, match="line 1: X_0 is not declared"):
        read(tmp_path, "")


def test_a_normal_form_that_explodes_is_refused(tmp_path):
    choice = "(assert (or (<= Y_0 1) (<= Y_0 2)))\n"
    with pytest.raises(InputError, match="1073741824 disjuncts"):
        read(tmp_path, declarations(1, 1) + unit_box(1) + choice * 30)


HOSTILE = {
    "factors": (f"(assert (<= (* X_0 {'9e400 ' * 3000}) 1))", "a product has a number of more than"),
    "small factors": (f"(assert (<= (* X_0 {'9e-400 ' * 3000}) 1))", "a product has a number of more than"),
    "exponent": ("(assert (<= X_0 1e-9999))", "too large an exponent"),
    "disjuncts": ("".join(f"(assert (or (<= Y_0 {k}) (>= Y_0 {k + 1})))" for k in range(19)), "524288 disjuncts"),
    "nested or": (f"(assert {'(or ' * 50_000}(<= Y_0 1){'(<= Y_0 1))' * 50_000})", "nested too deeply"),
    "nested and": (f"(assert {'(and ' * 50_000}(<= Y_0 1){'(<= Y_0 1))' * 50_000})", "nested too deeply"),
    "nested sum": ("".join(f"(declare-const X_{i} Real)" for i in range(1, 9000))
                   + f"(assert (<= {''.join(f'(+ X_{i} ' for i in range(9000))}1{')' * 9000} 1))", "nested too deeply"),
}


@pytest.mark.parametrize(("text", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_small_file_cannot_ask_for_much(tmp_path, text, said):
    start = time.process_time()
    with pytest.raises(InputError, match=said):
        read(tmp_path, declarations(1, 1) + unit_box(1) + text)
    assert time.process_time() - start < 5


def test_texts_boxes_and_rows_have_limits(tmp_path, monkeypatch):
    choices = "".join(f"(and (<= X_0 0.{k}) (<= Y_0 {k}))" for k in range(1, 9))
    text = declarations(10, 1) + unit_box(10) + f"(assert (or {choices}))"
    prop = read(tmp_path, text)
    monkeypatch.setattr("verify.spec.LARGEST", 7)
    with pytest.raises(InputError, match="the rows need 8 coefficients"):
        prop.problem_parts((10,), torch.float32)
    monkeypatch.setattr("verify.vnnlib.cases.ENTRIES", 79)
    with pytest.raises(InputError, match="more than 79 bounds"):
        read(tmp_path, text)
    packed = tmp_path / "zeros.vnnlib.gz"
    packed.write_bytes(gzip.compress(b" " * 100_000))
    monkeypatch.setattr("verify.vnnlib.cases.LONGEST", 99_999)
    with pytest.raises(InputError, match="more than 99999 bytes"):
        read_vnnlib(packed)


def test_deep_nesting_does_not_recurse(tmp_path):
    depth = 20_000
    text = declarations(1, 1) + unit_box(1) + f"(assert {'(and ' * depth}(<= Y_0 1){')' * depth})"
    total = f"(assert (<= {'(+ Y_0 ' * 3000}1{')' * 3000} 0))"
    ((rows,),) = [case.disjuncts for case in read(tmp_path, text + total).cases]
    assert [row.output for row in rows] == [((0, -1),), ((0, -3000),)]


def test_damaged_and_missing_files(tmp_path):
    whole = gzip.compress((declarations(1, 1) + unit_box(1)).encode())
    path = tmp_path / "p.vnnlib.gz"
    path.write_bytes(whole)
    assert len(read_vnnlib(path).cases) == 1
    for data in (whole[:-12], b"(declare-const X_0 Real)", b"", whole[:20] + b"\0\0\0\0" + whole[24:]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"p\.vnnlib\.gz"):
            read_vnnlib(path)
    plain = tmp_path / "p.vnnlib"
    plain.write_bytes(b"; fine\n" + whole)
    with pytest.raises(InputError, match=r"line 2: is not text"):
        read_vnnlib(plain)
    with pytest.raises(InputError, match="cannot be read"):
        read_vnnlib(tmp_path / "absent.vnnlib")


def test_a_property_of_another_network_is_refused(tmp_path):
    prop = read(tmp_path, declarations(2, 1) + unit_box(2))
    with pytest.raises(InputError, match="declares 2 variables X_i but the network has 6 inputs"):
        prop.problem_parts((1, 2, 3), torch.float32)
    with pytest.raises(InputError, match="declares 1 variables Y_i but the network has 3 outputs"):
        prop.problem_parts((2,), torch.float32, outputs=3)
    with pytest.raises(InputError, match="has 3 inputs"):
        prop.contains(np.zeros(3), np.zeros(1))


WARNED = {
    "nothing": ("(assert (or (<= Y_0 1) (>= Y_1 (+ X_0 X_1))))", []),
    "low above high": ("(assert (>= X_1 1.5))(assert (<= (+ Y_0 Y_1) 1))",
                       ["X_1 has a lower bound 1.5 above its upper bound 1.0, so that no input is allowed"]),
    "one empty case": ("(assert (or (and (<= X_0 -1) (<= Y_0 1)) (<= Y_1 1)))",
                       ["X_0 has a lower bound 0.0 above its upper bound -1.0, in some case, which is left out"]),
    "empty polytope": ("(assert (>= (+ X_0 X_1) 3))(assert (<= (+ Y_0 Y_1) 1))",
                       ["a constraint over several inputs excludes the whole input box, so that no input is allowed"]),
    "silent output": ("(assert (<= Y_0 1))", ["1 of 2 outputs are in no constraint (Y_1)"]),
    "no output": ("", ["no constraint speaks of an output: every allowed input satisfies the file"]),
    "true constant": ("(assert (<= 0.5 1))(assert (<= Y_0 Y_1))",
                      ["a comparison speaks of no variable: 0 >= -0.5 is always true"]),
    "false constant": ("(assert (or (>= Y_0 Y_1) (>= (- Y_0 Y_0) 0.25)))",
                       ["a comparison speaks of no variable: 0 >= 0.25 is always false"]),
}


@pytest.mark.parametrize(("text", "said"), WARNED.values(), ids=WARNED.keys())
def test_what_is_hardly_meant_is_told_in_one_sentence(tmp_path, text, said):
    prop = read(tmp_path, declarations(2, 2) + unit_box(2) + text)
    assert list(prop.warnings) == said
    assert (prop.cases == ()) == any("no input is allowed" in sentence for sentence in said)


def test_a_byte_order_mark_and_declared_functions_are_read(tmp_path):
    text = declarations(1, 1) + unit_box(1) + "(assert (<= Y_0 1))\n"
    path = tmp_path / "marked.vnnlib"
    path.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    functions = re.sub(r"declare-const (\w+) Real", r"declare-fun \1 ( ) Real", text)
    plain = read(tmp_path, text).cases[0].disjuncts
    assert read_vnnlib(path).cases[0].disjuncts == read(tmp_path, functions).cases[0].disjuncts == plain
    for bad in ("(declare-fun f (Real) Real)", "(declare-fun X_9 Real)", "(declare-const X_9 () Real)"):
        with pytest.raises(InputError, match="line 6"):
            read(tmp_path, text + bad)


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nine_megabytes_are_read_in_seconds(tmp_path):
    numbers, inputs = random.Random(5), 96_000
    lines = [declarations(inputs, 1)]
    for i in range(inputs):
        low = numbers.random()
        lines.append(f"(assert (>= X_{i} {low:.8f}))\n(assert (<= X_{i} {low + 0.01:.8f}))\n")
    path = tmp_path / "large.vnnlib"
    path.write_text("".join(lines))
    assert path.stat().st_size > 9e6
    start = time.process_time()
    (case,) = read_vnnlib(path).cases
    assert time.process_time() - start < 8
    assert case.low[-1] == Fraction(lines[-1].split()[3].rstrip(")"))


def test_a_shared_box_is_not_copied_into_its_disjuncts(tmp_path):
    disjuncts = "".join(f"(and (>= Y_0 {k}) (<= Y_0 {k + 1}))" for k in range(5000))
    (case,) = read(tmp_path, declarations(300, 1) + unit_box(300) + f"(assert (or {disjuncts}))").cases
    assert [len(case.disjuncts), {len(rows) for rows in case.disjuncts}] == [5000, {2}]

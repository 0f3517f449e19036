"""The VNN-LIB reader against an evaluator of the text, and damaged files."""

from __future__ import annotations

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
def test_long_files_are_read_in_time_that_grows_with_their_length(tmp_path):
    def seconds(inputs: int) -> float:
        numbers = random.Random(5)
        lows = [f"{numbers.random():.8f}" for _ in range(inputs)]
        bounds = "".join(f"(assert (>= X_{i} {low}))\n(assert (<= X_{i} 1{low}))\n" for i, low in enumerate(lows))
        path = tmp_path / f"{inputs}.vnnlib"
        path.write_text(declarations(inputs, 1) + bounds)
        start = time.process_time()
        (case,) = read_vnnlib(path).cases
        taken = time.process_time() - start
        assert case.low[-1] == Fraction(lows[-1])
        return taken

    long, short = (min(seconds(inputs) for _ in range(3)) for inputs in (32_000, 4_000))  # without what else goes on
    assert long < 20 * short  # eight times as long; with the square of the length it would be 64


def test_a_shared_box_is_not_copied_into_its_disjuncts(tmp_path):
    disjuncts = "".join(f"(and (>= Y_0 {k}) (<= Y_0 {k + 1}))" for k in range(5000))
    (case,) = read(tmp_path, declarations(300, 1) + unit_box(300) + f"(assert (or {disjuncts}))").cases
    assert [len(case.disjuncts), {len(rows) for rows in case.disjuncts}] == [5000, {2}]

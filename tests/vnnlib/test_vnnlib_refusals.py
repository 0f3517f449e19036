"""Texts that are no property, or ask for too much: each is refused with its line."""

from __future__ import annotations

import gzip
import re
import time

import numpy as np
import pytest
import torch

from tests.vnnlib.test_vnnlib import declarations, read, unit_box
from verify.errors import InputError
from verify.vnnlib import read_vnnlib

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

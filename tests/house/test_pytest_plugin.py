"""The fixture `certify` in test suites of its own, run by pytest in processes of their own."""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"

# y = (x0 + x1, relu(x0 - x1) + 0.75), as in cli_cases; by hand v* of (0.5, 0.4) is 2 eps - 0.05
MODEL = """
import torch
from torch import nn

def model():
    first, last = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1., 1.], [1., -1.]])); first.bias.zero_()
        last.weight.copy_(torch.eye(2)); last.bias.copy_(torch.tensor([0., 0.75]))
    return nn.Sequential(first, nn.ReLU(), last)

x = torch.tensor([[0.9, 0.9], [0.2, 0.1], [0.5, 0.4], [0.9, 0.8]])
y = [0, 1, 0, 1]
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Where the plugin is loaded by name, whether or not it is installed as one."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return pytester


def outcome(suite: pytest.Pytester, body: str) -> pytest.RunResult:
    suite.makepyfile(MODEL + body)
    return suite.runpytest_subprocess("-p", "verify.pytest_plugin", "-p", "no:cacheprovider")


def test_what_is_robust_passes(suite: pytest.Pytester) -> None:
    result = outcome(suite, """
def test_batch(certify):
    brackets = certify.assert_certified(model(), x[:3], y[:3], eps="1/100")
    assert len(brackets) == 3
    assert all(float(b.upper[0]) < 0 for b in brackets)

def test_one_sample(certify):
    certify.assert_certified(model(), x[2], 0, eps=0.01)

def test_a_network(certify):
    import verify
    certify.assert_certified(verify.trace(model(), x), x[:2].numpy(), torch.tensor(y[:2]), 0.01, norm="l2", clip=None)

def test_a_bundled_name(certify):
    from verify.models import digits
    images, labels = digits()
    certify.assert_certified("digits-dense-interval", images[:2], labels[:2], eps="1/100")
""")
    result.assert_outcomes(passed=4)


def test_what_is_not_fails_and_says_which_and_why(suite: pytest.Pytester) -> None:
    result = outcome(suite, """
def test_falsified_and_misclassified(certify):
    certify.assert_certified(model(), x, y, eps="1/10")
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        ">*certify.assert_certified(model(), x, y, eps=*",  # the test's own line, and none of the plugin's
        "E*2 of 4 samples are not certified at linf eps 1/10:",
        "E*sample 2, label 0: falsified by PGD*, a point of the set is classified as 1, violation 0.*",
        "E*sample 3, label 1: misclassified as 0 without any change",
    ])
    assert "pytest_plugin.py" not in result.stdout.str()


def test_undecided_fails_too(suite: pytest.Pytester) -> None:
    result = outcome(suite, """
def test_no_time(certify):
    certify.assert_certified(model(), x[2], 0, eps="1/100", timeout=0)
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*sample 0, label 0: undecided, * <= v[*] <= inf (the 0 s are over)"])


def test_one_output_is_asked_by_threshold_tolerance_or_bounds(suite: pytest.Pytester) -> None:
    """y = x_0 + x_1 moves by 0.2 in a ball of radius 0.1."""
    result = outcome(suite, """
import pytest

def one():
    net = torch.nn.Sequential(torch.nn.Linear(2, 1))
    net[0].weight.data, net[0].bias.data = torch.ones(1, 2), torch.zeros(1)
    return net

points = torch.tensor([[0.5, 0.5], [0.2, 0.2]])

def test_proved(certify):
    certify.assert_certified(one(), points, [1, 0], eps="1/10", threshold="0.7")
    certify.assert_certified(one(), points, None, eps="1/10", tolerance="0.21")
    certify.assert_certified(one(), points[0], 1, eps="1/10", bounds=(None, 2))

@pytest.mark.parametrize("given", [{"threshold": 0.9}, {"tolerance": "0.19"}, {"bounds": (0.3, None)}])
def test_not(certify, given):
    certify.assert_certified(one(), points, [1, 0], eps="1/10", **given)

def test_both(certify):
    certify.assert_certified(one(), points, [1, 0], eps="1/10", threshold=0, tolerance=1)
""")
    result.assert_outcomes(passed=1, failed=4)
    result.stdout.fnmatch_lines([
        "E*sample 0, label 1: falsified by *, a point of the set is classified as 0, violation 0.1*",
        "E*sample 0: falsified by *, a point of the set leaves the range, violation 0.01*",
        "E*sample 1: falsified by *, a point of the set leaves the range, violation 0.1*",
        "E*threshold and tolerance ask for different things*",
    ])


def test_bad_input_is_one_sentence(suite: pytest.Pytester) -> None:
    result = outcome(suite, """
def test_labels(certify):
    certify.assert_certified(model(), x, y[:3], eps=0.1)
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*InputError: y has shape (3,); expected (4,)*"])


def test_it_costs_nothing_until_it_is_used(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import sys

def test_nothing_heavy_is_imported():
    assert "verify.pytest_plugin" in sys.modules
    assert not {"torch", "numpy", "scipy", "onnx"} & sys.modules.keys()
""")
    result = suite.runpytest_subprocess("-p", "verify.pytest_plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)

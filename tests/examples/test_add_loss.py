"""A loss is one file: a copy of the package with nothing but the file more knows it in recipes and in the tests."""

from __future__ import annotations

from pathlib import Path

from tests.support.added import Copy

SESSION = """
from tests.train import test_recipe, test_train_gradients, test_train_losses
from verify.train.losses import LOSSES, Threat

assert list(LOSSES)[-1] == "half" and "half" in test_train_gradients.BOUNDED
test_recipe.test_every_loss_has_its_name("half")
test_train_losses.test_at_radius_zero_every_loss_is_the_plain_one("half", "normed")
test_train_gradients.check("normed", "half", Threat())
"""


def test_a_loss_is_one_file(tmp_path: Path) -> None:
    copy = Copy(tmp_path, {"verify/train/losses/half.py": Path(__file__).parent / "loss_half.py"})
    copy.python("-c", SESSION)
    print("files touched to add a loss:", *copy.touched)
    assert copy.touched == ["verify/train/losses/half.py"]

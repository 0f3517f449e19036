"""What is installed: the wheel, alone in an environment outside of the repository, and the pins."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MOST_BYTES = 10 * 2**20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tracked sources so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("pyproject.toml", "README.md", "verify", "models"):
        for path in [ROOT / name, *(ROOT / name).rglob("*")]:
            if path.is_file() and "__pycache__" not in path.parts:
                copy = source / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter whose environment holds the wheel, and reads only third-party packages from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    interpreter = folder / "bin" / "python"
    place = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    command = [sys.executable, "-m", "pip", "--quiet", "--python", str(interpreter), "install", "--no-deps", str(wheel)]
    subprocess.run(command, check=True)
    # a path file adds the folder of the dependencies after the wheel, and runs none of the path files in it, so that
    # the editable installation of this checkout stays out
    (place / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def output_of(python: Path, script: str, folder: Path) -> str:
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_its_networks(wheel: Path) -> None:
    assert wheel.name.startswith("verify_nn-")
    assert wheel.stat().st_size <= MOST_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"verify"}
    assert "verify/py.typed" in names
    assert "verify/models/data/digits.npz" in names
    assert {f"verify/report/page.{end}" for end in ("html.jinja", "css", "js")} <= set(names)
    for folder in ("weights", "recipes"):
        files = {f"verify/models/{folder}/{path.name}" for path in (ROOT / "models" / folder).iterdir()}
        assert files == {name for name in names if name.startswith(f"verify/models/{folder}/")}
        assert len(files) >= 6


def test_every_folder_of_code_is_a_listed_package() -> None:
    inside = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("verify/**/__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == inside | {"verify.models"}


def test_the_wheel_works_outside_of_the_repository(python: Path, tmp_path: Path) -> None:
    script = (
        "import verify, verify.models\n"
        "net = verify.load('digits-dense-interval')\n"
        "x, y = verify.models.digits()\n"
        "bracket = verify.solve(verify.robustness(net, x[:2], y[:2], eps='1/100'), verify.Interval())\n"
        "print(verify.__file__, verify.models.__file__, bracket.upper.shape)"
    )
    package, models, *_ = output_of(python, script, tmp_path).split()
    for place in (package, models):
        assert Path(place).is_relative_to(python.parents[1])
    command = [python.parent / "verify", "--help"]
    assert "certify" in subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout


def test_the_wheel_runs_the_example_of_the_readme(python: Path, tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example, "README.md has no ```python block"
    output_of(python, example[1], tmp_path)


def test_the_pins_satisfy_the_ranges() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    extras = PROJECT["project"]["optional-dependencies"]
    for text in [*PROJECT["project"]["dependencies"], *extras["dev"], *extras["plot"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


def test_both_make_commands_install_the_same_pins() -> None:
    for target in ("demo", "test"):
        done = subprocess.run(["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "--constraint constraints.txt" in done.stdout
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script

"""A copy of the package to which files are added, as a contributor would, and what is run with it."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

from verify.registry import PACKAGE

ROOT = PACKAGE.parent


class Copy:
    """The package in a folder of its own, with added files by their paths from the root of the repository."""

    def __init__(self, folder: Path, added: dict[str, Path]):
        self.folder = folder
        shutil.copytree(PACKAGE, folder / "verify", ignore=shutil.ignore_patterns("__pycache__", "models"))
        (folder / "verify" / "models").symlink_to(ROOT / "models")
        for place, source in added.items():
            shutil.copy(source, folder / place)

    @property
    def touched(self) -> list[str]:
        """The files that the package does not have, or has otherwise."""
        files = (path.relative_to(self.folder) for path in (self.folder / "verify").rglob("*.py"))
        return sorted(str(path) for path in files if "models" not in path.parts and not (
            (ROOT / path).is_file() and filecmp.cmp(ROOT / path, self.folder / path, shallow=False)))

    def python(self, *arguments: str) -> str:
        """What Python prints with the copy in place of the package, in its folder; its tests are those here."""
        environment = {**os.environ, "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

"""Pages as a browser without a screen sees them: Chromium runs their scripts and prints what became of them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; apt-get install chromium")
VOID = {"meta", "input", "img", "link", "br", "hr"}


@dataclass
class Element:
    """A tag with its attributes and what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag: str, style: str = "") -> list[Element]:
        """Those inside with this tag, and this class if one is given."""
        inside = [child for child in self.children if isinstance(child, Element)]
        mine = [c for c in inside if c.tag == tag and (not style or style in c.attributes.get("class", "").split())]
        return [*mine, *(found for child in inside for found in child.all(tag, style))]

    def one(self, tag: str, style: str = "") -> Element:
        (found,) = self.all(tag, style)
        return found


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if any(element.tag == tag for element in self.open):
            while self.open.pop().tag != tag:
                pass

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(text: str) -> Element:
    """The tree of a page."""
    builder = _Builder()
    builder.feed(text)
    builder.close()
    return builder.root


def seen(page: Path, address: str = "", *options: str) -> tuple[Element, str]:
    """The tree of a page once its scripts have run, and what the browser's console says."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                   "--enable-logging=stderr", *options, "--dump-dom", f"{page.resolve().as_uri()}{address}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return parsed(done.stdout), "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)

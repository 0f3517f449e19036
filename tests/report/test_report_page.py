"""The report's page: complete without a network or a script, safe whatever a run says, and alive in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.browser import Element, needs_chromium, parsed, seen
from tests.support.cli_cases import error_of
from tests.support.report_runs import NASTY, config, kinds, many, payload, put
from verify.cli.main import run
from verify.runs.engine.store import Store


def page_of(*folders: Path) -> Path:
    out = folders[0] / "report.html"
    assert run(["report", *map(str, folders)]) == 0
    return out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(put(tmp_path_factory.mktemp("mixed"), kinds()))


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(put(tmp_path_factory.mktemp("thousand"), many(1000, ["1/10"]), (1, 28, 28)))


def rows_of(page: Element) -> list[list[str]]:
    return [[cell.text for cell in line.children if isinstance(cell, Element)]
            for line in page.one("table", "samples").all("tr", "row")]


def count_of(page: Element) -> str:
    return page.one("output", "count").text


def test_the_page_says_the_figures_without_a_script(mixed: Path) -> None:
    page = parsed(mixed.read_text())
    text = re.sub(r"\s+", " ", page.one("main").text)
    for said in ("clean accuracy83.3 %", "under attack66.7 %", "verified33.3 %", "undecided33.3 %", "4.3 \u2013 95.7 %",
                 "1 certified", "1 misclassified", "float rounding", "sample 2: predicted 2, then 7", "verify export"):
        assert said.replace(" ", "") in text.replace(" ", ""), said
    assert len(page.all("img")) == 3
    assert page.one("div", "explorer").attributes.keys() >= {"hidden"}


def test_the_page_asks_for_nothing(thousand: Path) -> None:
    text = thousand.read_text()
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!data:image/png;base64,|#)[^"']*""", text.split("<script")[0]) == []
    assert "@import" not in text
    assert "url(" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert len(text) < 2_000_000


def test_whatever_a_run_says_is_text(tmp_path: Path) -> None:
    made = [
        payload(0, "1/10", "unknown", None, reason=NASTY), payload(1, trusts=NASTY, certificate=NASTY, method=NASTY),
        payload(2, "1/10", "falsified", "pgd", attacked=1, witness={"remark": NASTY}), payload(3, verdict=NASTY),
    ]
    made[3]["verdict"] = "error"
    with Store.open(put(tmp_path / NASTY.replace("/", ""), made), config(4, ["1/10"]), {NASTY: NASTY},
                    {"model": NASTY, "data": NASTY, NASTY: NASTY}) as store:
        folder = store.folder
    text = page_of(folder).read_text()
    assert "<script>alert" not in text
    page = parsed(text)
    assert [script.attributes for script in page.all("script")] == [{"type": "application/json", "id": "data"}, {}]
    assert NASTY in json.loads(page.all("script")[0].text)[0]["texts"]
    tags = [element for tag in ("img", "svg", "p", "td", "dd", "option") for element in page.all(tag)]
    assert not any(name.startswith("on") for element in tags for name in element.attributes)


def test_several_runs_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [put(tmp_path / "a", many(20, ["1/20", "1/10"])), put(tmp_path / "b", many(30, ["1/10"]), (40,))]
    out = tmp_path / "both.html"
    assert run(["report", *map(str, folders), "--out", str(out)]) == 0
    assert capsys.readouterr().err == f"report written to {out}\n"
    page = parsed(out.read_text())
    plots = [plot.attributes["aria-label"] for plot in page.all("svg", "plot")]
    assert plots == ["clean against certified accuracy", "robust accuracy against eps", "brackets at eps 1/20",
                     "brackets at eps 1/10", "brackets at eps 1/10"]
    pareto = page.all("svg", "plot")[0]
    assert len(pareto.all("title")) == 3  # one a run and eps
    assert [article.attributes["id"] for article in page.all("article")] == ["run1", "run2"]
    assert page.all("table", "changes")  # flat inputs are listed


def test_a_training_shows_its_curves(tmp_path: Path) -> None:
    with Store.open(tmp_path, {"command": "train"}, {}) as store:
        for epoch in (1, 2, 3):
            store.put(f"epoch/{epoch:04d}", {"epoch": epoch, "loss": 3.0 / epoch, "eps": 0.1, "clean": 0.3 * epoch,
                                             "attacked": 0.2 * epoch, "verified": 0.1 * epoch, "seconds": 1.0})
    put(tmp_path / "certify", many(10, ["1/10"]))
    labels = [plot.attributes["aria-label"] for plot in parsed(page_of(tmp_path).read_text()).all("svg", "plot")]
    assert labels[-2:] == ["accuracies during the training", "loss during the training"]


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path, config(10, ["1/10"]), {}) as store:
        store.put("sample/0/1/10", payload(0))
    assert "9 results are missing" in page_of(tmp_path).read_text()


def test_refusals_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "absent")]) == 2
    assert "there is no run in" in error_of(capsys)
    folder = put(tmp_path / "run", kinds())
    assert run(["report", str(folder), "--out", str(tmp_path / "no" / "x.html")]) == 2
    assert "cannot write" in error_of(capsys)


@needs_chromium
def test_the_table_is_there_and_nothing_is_refused(mixed: Path) -> None:
    page, console = seen(mixed)
    assert console == ""
    rows = rows_of(page)
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row[3] for row in rows] == ["verified", "certified", "falsified", "misclassified", "undecided", "error"]
    assert rows[2][2] == "2 → 7"
    assert rows[5][5:7] == ["\u2212∞", "∞"]
    assert count_of(page) == "6 rows"
    assert "hidden" not in page.one("div", "explorer").attributes


@needs_chromium
def test_numbers_sort_as_numbers_and_what_is_absent_comes_last(thousand: Path) -> None:
    def column(page: Element, place: int) -> list[str]:
        return [row[place].replace("\u2212", "-") for row in rows_of(page)]

    for address, place, factor in (("#sort=upper", 6, 1), ("#sort=-upper", 6, -1), ("#sort=-index", 0, -1)):
        page, _ = seen(thousand, address)
        cells = column(page, place)
        assert len(cells) == 1000
        known = [factor * float(cell) for cell in cells if cell != "∞"]
        assert known == sorted(known)
        assert len(known) > 500
        assert cells[len(known):] == ["∞"] * (1000 - len(known))
        head = [th.attributes["aria-sort"] for th in page.all("th") if "aria-sort" in th.attributes]
        assert head == ["ascending" if factor == 1 else "descending"]


@needs_chromium
def test_filters_of_the_address_hold(thousand: Path) -> None:
    data = json.loads(parsed(thousand.read_text()).all("script")[0].text)[0]
    expected = [row for row in data["rows"] if data["kinds"][row[4]] == "falsified" and row[2] == 3]
    page, _ = seen(thousand, "#verdict=falsified&label=3&method=pgd")
    rows = rows_of(page)
    assert [row[0] for row in rows] == [str(row[0]) for row in expected]
    assert 0 < len(rows) < 100
    assert count_of(page) == f"{len(rows)} of 1000 rows"
    page, _ = seen(thousand, "#q=leave+A+gap&sort=lower")
    assert {row[3] for row in rows_of(page)} == {"undecided"}


@needs_chromium
def test_a_row_opens_to_pictures_and_to_text(mixed: Path) -> None:
    page, _ = seen(mixed, "#open=2")
    detail = page.one("tr", "detail")
    assert [image.attributes["alt"] for image in detail.all("img")] == ["sample", "perturbed", "change \u00d7\u202f5"]
    assert [line.all("td")[0].text for line in detail.one("table").all("tr")[1:]] == ["clean", "pgd"]
    page, console = seen(mixed, "#open=4&verdict=unknown")
    assert page.one("tr", "detail").all("p")[0].text == NASTY
    assert console == ""


@needs_chromium
def test_what_another_eps_implies_shows_its_witness(tmp_path: Path) -> None:
    follows = {"attacked": 7, "implied": "1/20", "methods": {}}
    folder = put(tmp_path, [*kinds("1/20"), payload(2, "1/10", "falsified", "pgd", **follows)])
    page, console = seen(page_of(folder), "#eps=1/10&open=2@1/10")
    detail = page.one("tr", "detail")
    assert [paragraph.text for paragraph in detail.all("p")] == ["follows from eps 1/20"]
    assert len(detail.all("img")) == 3
    assert console == ""


@needs_chromium
def test_clicks_and_typing_do_what_the_address_does(mixed: Path, tmp_path: Path) -> None:
    policy = re.compile("<meta http-equiv.*?>")  # which would refuse the script that plays the user
    user = """<script>
        const type = (name, value) => {
            const field = document.querySelector(`.filters [name=${name}]`);
            field.value = value;
            field.dispatchEvent(new Event("input", { bubbles: true }));
        };
        const head = document.querySelector("th[data-name=seconds] button");
        type("q", "sample-1"); type("q", ""); type("verdict", "error"); type("verdict", ""); type("method", "crown");
        head.click(); head.click();
        document.querySelector(".samples tbody button").click();
        document.title = location.hash;
    </script>"""
    page = tmp_path / "page.html"
    page.write_text(policy.sub("", mixed.read_text(), count=1).replace("</body>", f"{user}</body>"))
    found, console = seen(page)
    assert console == ""
    assert sorted(found.one("title").text[1:].split("&")) == ["method=crown", "open=1", "sort=-seconds"]
    assert [row[0] for row in rows_of(found)] == ["1", "5"]
    assert "certificate sample-1.certificate" in found.one("tr", "detail").text


@needs_chromium
def test_a_thousand_samples_open_at_once(thousand: Path) -> None:
    page, console = seen(thousand)
    assert console == ""
    assert count_of(page) == "1000 rows"
    assert int(page.one("html").attributes["data-ready"]) < 2000  # milliseconds from the request to the last row

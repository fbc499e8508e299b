"""The site of a small run: built by the command, read as files, and looked at in a browser from the disk."""

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

pytest.importorskip("sphinx", reason="the extra `site`")

from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from robust_lib import site
from robust_lib.site import chapters, sources
from tests import browser
from tests.test_notebooks import ROOT, THINNED

pytestmark = pytest.mark.xdist_group("site")  # one process, or the site would be built in each

WORLD, STUDY, UNRUN = "00_micro_world", "01_robustness_study", "02_attribution"
LOADING = {
    "img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src", "link": "href", "object": "data",
}  # fmt: skip


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m robust_lib` with runs and store in a folder of the test."""
    environment = os.environ | {"ROBUST_RUNS": str(folder / "runs"), "ROBUST_STORE": str(folder / "store")}
    return subprocess.run(
        [sys.executable, "-m", "robust_lib", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two executed notebooks, thinned."""
    folder = tmp_path_factory.mktemp("run")
    for name in (WORLD, STUDY):
        values = [text for key, value in THINNED[name].items() for text in ("-p", key, repr(value))]
        done = command(folder, "notebook", name, *values)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def built(run: Path) -> Path:
    """Its site."""
    done = command(run, "site")
    assert (done.returncode, done.stderr) == (0, "")  # not even a warning of Sphinx's
    folder = run / "runs" / "micro" / "site"
    assert done.stdout.strip() == str(folder / "index.html")
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as one:
        yield one


class Tags(HTMLParser):
    """The tags of a page with their attributes: quicker than a tree of it, for there are 150 pages."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def soup(file: Path) -> BeautifulSoup:
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


def records(run: Path) -> list[dict[str, Any]]:
    card: list[dict[str, Any]] = json.loads((run / "runs" / "micro" / "scorecard.json").read_text())
    return card


# -- as files -------------------------------------------------------------------------------------------------


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_a_network(built: Path) -> None:
    tags = {file: Tags(file).found for file in built.rglob("*.html")}
    ids = {file: {had["id"] for _, had in found if "id" in had} for file, found in tags.items()}
    seen = 0
    for file, tag, had in ((file, *one) for file, found in tags.items() for one in found):
        address = had.get(LOADING.get(tag, "href"), "") if tag in ("a", *LOADING) else ""
        if address.startswith(("https://", "http://", "//")):
            assert tag == "a", f"{file}: {had}"
        elif address and not address.startswith("data:"):
            path, anchor = urldefrag(address.partition("?")[0])
            target = (file.parent / unquote(path)).resolve() if path else file
            assert target.is_file(), f"{file}: {address}"
            assert not anchor or target not in ids or unquote(anchor) in ids[target], f"{file}: {address}"
            seen += 1
    assert seen > 1000


def test_each_record_has_a_row_and_a_mark_on_the_front_page(run: Path, built: Path) -> None:
    card = [entry for entry in records(run) if entry["paper"] == 1]
    rows = soup(built / "paper_1.html").select("table.records tbody tr")
    verdicts = [row.find_all("td")[-1].text.partition(" ")[2] for row in rows]
    assert verdicts == [entry["verdict"] for entry in card]
    assert [row.td.text for row in rows] == [entry["item"] for entry in card]
    front = soup(built / "index.html")
    marks = front.select("dl.map a.mark")
    assert len(marks) == len(records(run)) > 50
    assert {mark["href"] for mark in marks} == {f"paper_1.html#{row['id']}" for row in rows}
    heads = [head.text.partition(" ")[2] for head in front.select("table.counts thead th")[2:]]
    told = Counter[str]()
    for row in front.select("table.counts tbody tr"):
        counts = [int(cell.text or 0) for cell in row.find_all("td")]
        assert sum(counts[1:]) == counts[0]
        told.update(dict(zip(heads, counts[1:], strict=True)))
    assert told == Counter(entry["verdict"] for entry in records(run))


def test_a_notebook_that_was_not_executed_is_said_to_be_so(built: Path) -> None:
    front = soup(built / "index.html").get_text()
    assert front.count("(not executed)") == len(list((ROOT / "notebooks").glob("*.py"))) - 2
    page = soup(built / "notebooks" / f"{UNRUN}.html").get_text()
    assert f"make notebook NB={UNRUN} SCALE=micro" in page
    assert "(not executed)" not in soup(built / "notebooks" / f"{STUDY}.html").get_text()


def test_a_page_shows_what_its_notebook_showed(run: Path, built: Path) -> None:
    cells = json.loads((run / "runs" / "micro" / "notebooks" / f"{STUDY}.ipynb").read_text())["cells"]
    shown = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    page = soup(built / "notebooks" / f"{STUDY}.html")
    assert len(page.select(".cell_output img")) == sum("image/png" in data for data in shown) > 2
    tables = sum("".join(data.get("text/html", "")).count("<table") for data in shown)
    assert len(page.select(".cell_output table")) == tables > 5
    assert page.find("math") is not None
    files = {link.text for link in page.select("ul.files a")}
    assert {"csv", "md", "png", "svg"} <= files


def test_a_method_named_in_a_notebook_leads_to_its_source(built: Path) -> None:
    page = soup(built / "notebooks" / f"{STUDY}.html")
    listed = {link.text: str(link["href"]) for link in page.select("ul.behind a")}
    assert {"methods.finetuned", "methods.pruning_chain", "report.robustness_table"} <= set(listed)
    assert {link.text for link in page.select("a.code-link")} <= set(listed)
    path, anchor = urldefrag(listed["methods.finetuned"])
    heading = soup(built / "notebooks" / path).find(id=anchor).find_next("h2")
    assert "finetuned" in heading.text
    assert "def finetuned(" in heading.find_next("pre").text


def test_no_source_line_is_lost_and_every_method_has_its_place() -> None:
    code = sources.pages(ROOT / "robust_lib")
    listed = re.findall(
        r'^    "(\w+)",$', (ROOT / "robust_lib" / "methods" / "__init__.py").read_text(), re.M
    )
    assert len(listed) > 30
    assert {f"methods.{name}" for name in listed} <= set(code.names)
    for file in (ROOT / "robust_lib" / "methods").glob("*.py"):
        name = "code/methods" if file.stem == "__init__" else f"code/methods.{file.stem}"
        assert set(file.read_text(encoding="utf-8").splitlines()) <= set(code.texts[name].splitlines())


def test_the_same_run_gives_the_same_bytes_wherever_it_lies(run: Path, built: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("site"))
    assert command(tmp_path, "site").returncode == 0
    again = tmp_path / "runs" / "micro" / "site"
    files = {path.relative_to(built): path for path in built.rglob("*") if path.is_file()}
    assert set(files) == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert [
        str(name) for name, path in files.items() if path.read_bytes() != (again / name).read_bytes()
    ] == []


def test_no_folder_and_no_user_of_this_machine_is_told(run: Path, built: Path) -> None:
    words = [str(run), str(ROOT), sys.prefix, str(Path.home()) + os.sep, f"/{getpass.getuser()}/"]
    for file in built.rglob("*"):
        if file.suffix in (".html", ".js", ".svg", ".csv", ".md"):
            text = file.read_text(encoding="utf-8")
            assert [word for word in words if word in text] == [], file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('source = "/data/of/somebody"', 'source = "…/somebody"'),
        ("/home/somebody/lib/train.py:12: UserWarning: x", "…/train.py:12: UserWarning: x"),
        ("\x1b[32m/opt/x/y.py\x1b[39m", "\x1b[32m…/y.py\x1b[39m"),
        ("https://example.org/a/b, 3/4, mnli/train, </b>", "https://example.org/a/b, 3/4, mnli/train, </b>"),
        (
            "<script>x.split(/\\w+/); y(/a/b)</script> (/a/b)",
            "<script>x.split(/\\w+/); y(/a/b)</script> (…/b)",
        ),
    ],
)
def test_folders_are_shortened_to_the_last_name(text: str, told: str) -> None:
    assert chapters.anonymous(text) == told


@pytest.mark.parametrize(
    "content",
    [
        "<p><img alt='x' src='https://example.org/x.png'></p>",
        '<script async src="//example.org/x.js"></script>',
        "<iframe src=http://example.org/></iframe>",
        '<link rel="stylesheet" href="https://example.org/x.css">',
        "<style>@import 'https://example.org/x.css';</style>",
        "<style>body { background: url(https://example.org/x.png) }</style>",
    ],
)
def test_what_would_ask_the_network_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "page.html").write_text(
        "<a href='https://example.org/'>a link asks nothing</a><img src='x.png'>"
    )
    site.check_offline(tmp_path)
    (tmp_path / "other.html").write_text(content)
    with pytest.raises(site.SiteError, match=r"^other\.html: would load (https?:)?//example\.org"):
        site.check_offline(tmp_path)


def test_without_an_executed_notebook_one_line_says_what_to_do(tmp_path: Path) -> None:
    done = command(tmp_path, "site", "--scale", "colab")
    assert (done.returncode, done.stdout) == (1, "")
    told = f"error: {tmp_path / 'runs' / 'colab' / 'notebooks'}: no executed notebook to build a site of; "
    assert done.stderr == told + "run `make reproduce SCALE=colab` first\n"


@pytest.mark.parametrize(
    "name", [f"{STUDY}/run.json", f"{STUDY}/manifest.json", f"notebooks/{STUDY}.ipynb", "scorecard.json"]
)
def test_a_cut_file_of_the_run_is_named(run: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(run / "runs" / "micro", tmp_path / "micro", ignore=shutil.ignore_patterns("site"))
    cut = tmp_path / "micro" / name
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(site.SiteError, match=rf"^{re.escape(str(cut))} is no .*; delete it and run "):
        site.build(tmp_path / "micro", [], scale="micro")


# -- in the browser -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_look_as_they_should(chromium: Browser, built: Path, width: int) -> None:
    for name in (
        "index",
        "paper_1",
        "figures",
        "search",
        f"notebooks/{STUDY}",
        "code/index",
        "code/methods.training",
    ):
        with browser.opened(chromium, (built / f"{name}.html").as_uri(), width=width) as watched:
            watched.page.evaluate(
                "document.querySelectorAll('img').forEach((image) => { image.loading = 'eager' })"
            )
            watched.page.wait_for_function("[...document.images].every((image) => image.complete)")
            broken = "[...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)"
            assert watched.page.evaluate(broken) == []
            beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert watched.page.evaluate(beyond) == 0, f"{name} scrolls sideways"
            browser.screenshot(watched.page, built.parents[1] / "looks" / f"{width}_{Path(name).name}.png")
            assert watched.errors == []
            assert watched.beyond("file://") == []


# The element whose words differ least in brightness (0 to 1) from what they stand on, and by how much.
CONTRAST = """() => {
    const color = (element, name) => getComputedStyle(element)[name].match(/[0-9.]+/g);
    const bright = ([red, green, blue]) => (0.3 * red + 0.59 * green + 0.11 * blue) / 255;
    const ground = element => {
        const found = color(element, 'backgroundColor');
        return (found[3] ?? 1) > 0.5 ? found : ground(element.parentElement);
    };
    const kinds = ['a', 'dt', 'h1', 'input', 'p', 'pre', 'select', 'small', 'td', 'th', '.mark', 'del', 'ins'];
    return [...document.querySelectorAll(kinds.map(kind => `article ${kind}`).join())]
        .filter(element => element.checkVisibility())
        .map(element => [Math.abs(bright(color(element, 'color')) - bright(ground(element))), element.outerHTML])
        .sort(([one], [other]) => one - other)[0];
}"""


def test_pages_are_legible_in_the_dark(chromium: Browser, built: Path) -> None:
    for name in ("index", "paper_1", f"notebooks/{STUDY}", "code/methods.training"):
        with browser.opened(chromium, (built / f"{name}.html").as_uri()) as watched:
            watched.page.emulate_media(color_scheme="dark")
            browser.screenshot(watched.page, built.parents[1] / "looks" / f"dark_{Path(name).name}.png")
            contrast, element = watched.page.evaluate(CONTRAST)
            assert contrast > 0.3, element
            ground = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == "rgb(19, 20, 22)"


def test_the_list_of_cells_and_claims_is_filtered_and_sorted(
    chromium: Browser, run: Path, built: Path
) -> None:
    card = [entry for entry in records(run) if entry["paper"] == 1]
    with browser.opened(chromium, (built / "paper_1.html").as_uri()) as watched:
        rows = watched.page.locator("table.records tbody tr:visible")
        verdict, words = (watched.page.get_by_label(name, exact=True) for name in ("verdict", "filter"))
        assert rows.count() == len(card)
        verdict.select_option("? cannot be told")
        untold = [entry for entry in card if entry["verdict"] == "cannot be told"]
        assert rows.count() == len(untold)
        words.fill("hans")
        assert rows.count() == sum("hans" in f"{entry['row']} {entry['column']}".lower() for entry in untold)
        words.fill("")
        verdict.select_option("")
        ours = watched.page.locator("table.records th", has_text="ours")
        for descending in (False, True):
            ours.click()
            shown = [
                float(text) for text in rows.locator("td:nth-child(5)").all_inner_texts() if text.strip()
            ]
            assert shown == sorted(shown, reverse=descending)
            assert len(shown) == sum(entry["ours"] is not None for entry in card)
        assert watched.errors == []


def test_the_search_finds_a_word_without_a_server(chromium: Browser, built: Path) -> None:
    with browser.opened(chromium, (built / "index.html").as_uri()) as watched:
        watched.page.locator("input.sidebar-search").first.fill("magnitude")
        watched.page.keyboard.press("Enter")
        found = watched.page.locator("ul.search li a")
        found.first.wait_for()
        assert any(f"notebooks/{STUDY}.html" in str(link.get_attribute("href")) for link in found.all())
        assert watched.errors == []
        assert watched.beyond("file://") == []


def test_a_reader_goes_from_a_mark_to_its_row_and_from_a_notebook_to_its_code(
    chromium: Browser, built: Path
) -> None:
    with browser.opened(chromium, (built / "index.html").as_uri()) as watched:
        watched.page.locator("dl.map a.mark.cannot-be-told").first.click()
        assert "cannot be told" in watched.page.locator("table.records tr:target").inner_text()
        watched.page.locator(".sidebar-tree a", has_text="01 Robustness study").click()
        watched.page.locator("a.code-link", has_text="compare.profiles").first.click()
        watched.page.locator("h2", has_text="profiles").first.wait_for()
        assert watched.errors == []

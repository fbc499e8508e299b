"""Tables to sort and filter, examples to step through, in a browser and without scripts; LaTeX; remarks."""

import html
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Page

from robust_lib import compare, published, report
from robust_lib.report import latex
from tests import browser

REMARK = "SmallerBatches: batches of 32 were computed as 2 x 16: out of memory on cuda"


def interval(value: float, n: int = 2000, seeds: int = 3) -> compare.Interval:
    return compare.Interval(value, value - 2, value + 2, n, seeds, 0.95, 0.4)


def paper_table(rows: int = 10) -> report.Table:
    """The first rows of paper 3's Table 1, measured a little off."""
    printed = published.table(3, "Table 1")
    first = list(dict.fromkeys(printed["row"]))[:rows]
    cells = {
        (one["row"], one["column"]): interval(one["printed"] + 1)
        for one in printed.to_dict("records")
        if one["row"] in first
    }
    cells[first[0], "Size"] = compare.counted(25.5)
    return report.paper_table(cells, printed=printed, units=report.COMPRESSION_UNITS, scale="colab")


def claims() -> report.Claims:
    """Twelve measurements of three claims, two of them above the boundary."""
    checks = report.Checks(1, {}, "micro")
    for item in ("3.5-a", "3.5-c", "3.5-f"):
        for i, value in enumerate((5.0, 0.5, -9.0, -30.0)):
            checks.add(item, f"MNLI, {20 + 20 * i}%", "points", interval(value), above=0, printed=4.2)
    return checks.claims


def predictions(said: str, sure: float = 2.0) -> pd.DataFrame:
    """Three classes a, b and c, all of gold a."""
    frame = pd.DataFrame({"id": range(len(said)), "gold": "a"})
    return frame.assign(**{f"logit_{name}": [sure * (one == name) for one in said] for name in "abc"})


def attacks(count: int) -> report.Examples:
    one = {"original": "The man plays a guitar .", "attacked": "The guy plays a lute .", "queries": 43}
    one |= {"before": "entailment", "after": "neutral"}
    return report.attack_diffs(
        pd.DataFrame([one | {"id": i, "victim": ("teacher", "student")[i % 2]} for i in range(count)])
    )


# -- without scripts ---------------------------------------------------------------------------------------------


def test_every_cell_of_a_paper_table_tells_what_it_rests_on() -> None:
    table = paper_table()
    told = re.findall(r"title='([^']*)'", table._repr_html_())
    assert len(told) == len(table.records)
    first = next(one for one in table.records if one["column"] == "MNLI m")
    sentence = f"2,000 items · 3 training seeds · 95 % interval {first['low']:.1f} to {first['high']:.1f} · "
    assert f"{sentence}the paper has {first['printed']:g}: not comparable at this scale" in told
    assert "counted, not measured" in told


def test_a_claim_and_a_subnetwork_tell_it_too() -> None:
    shown = claims()._repr_html_()
    told = "2,000 items · 3 training seeds · 95 % interval 3 to 7 · the paper has 4.2: holds"
    assert shown.count(told) == 3
    point = {"method": "m", "sparsity": 0.5, "task": "mnli", "testbed": "bed", "measure": "accuracy", "n": 50}
    point |= {"value": 0.8, "low": 0.7, "high": 0.9, "sd": 0.012, "seeds": 2, "baseline": 0.3}
    table = report.subnetwork_table(pd.DataFrame([point]), lines=[report.Line("m", "<m>")], title="t")
    told = "50 items · 2 training seeds · 95 % interval 70.0 to 90.0 · standard deviation over seeds 1.2"
    assert f"title='{told}'" in table._repr_html_()


def test_without_scripts_a_table_is_whole_and_has_no_controls() -> None:
    page = re.sub(r"<script>.*?</script>", "", claims()._repr_html_(), flags=re.DOTALL)
    assert page.count("<tr>") == 1 + 12
    assert page.count("F_bias exceeds 1 at every level of sparsity.") == 1
    assert not re.search(r"<(select|input|button)", page)


def test_the_first_examples_stand_open_and_the_others_in_a_fold() -> None:
    page = attacks(8)._repr_html_().partition("<script>")[0]
    opened, fold = page.split("<details>")
    assert (opened.count("class='example'"), fold.count("class='example'")) == (3, 5)
    assert "<summary>5 more</summary>" in fold
    few = attacks(2)._repr_html_()
    assert "<details>" not in few
    assert "<script>" not in few
    assert repr(attacks(8)).endswith("... and 5 more")
    assert repr(report.Examples()) == "no examples"


def test_an_output_stays_a_few_kilobytes_above_its_table() -> None:
    page = report.sheet(pd.DataFrame({"a": range(10)}))._repr_html_()
    assert len(page) < 12_000


# -- examples ----------------------------------------------------------------------------------------------------


def flipped(before: str, after: str, **options: Any) -> report.Examples:
    texts = pd.DataFrame({"premise": [f"text <{i}>" for i in range(len(before))]})
    return report.flips({"dense": predictions(before)}, {"pruned": predictions(after)}, texts, **options)


def test_flips_are_lost_won_or_swapped_and_nothing_else() -> None:
    found = flipped("aabcb", "abacb", facets={"test bed": "hans"})
    kinds = {one.head.split(" · ")[0]: one.facets["what"] for one in found.examples}
    assert kinds == {"id 1": "lost", "id 2": "won"}
    assert {one.facets["what"] for one in flipped("bc", "cb").examples} == {"swapped"}
    lost = next(one for one in found.examples if one.facets["what"] == "lost")
    assert dict(lost.facets) == {"test bed": "hans", "model": "pruned", "what": "lost", "gold": "a"}
    sure = np.exp(2) / (np.exp(2) + 2)
    assert [text for _, text, _ in lost.texts] == ["text <1>", f"✓ a ({sure:.2f})", f"✗ b ({sure:.2f})"]
    assert f"{sure:.2f} → {(1 - sure) / 2:.2f}" in lost.head


def test_the_examples_that_moved_furthest_are_taken() -> None:
    texts = pd.DataFrame({"premise": list("xyz")})
    after = pd.concat([predictions("bbb", sure)[i : i + 1] for i, sure in enumerate((0.1, 9.0, 1.0))])
    found = report.flips({"dense": predictions("aaa")}, {"pruned": after}, texts, most=2)
    assert [one.texts[0][1] for one in found.examples] == ["y", "z"]


def test_hans_is_read_as_the_tables_read_it() -> None:
    frame = pd.DataFrame({"id": [0], "gold": "non-entailment", "logit_entailment": 1.0, "logit_neutral": 0.9})
    frame["logit_contradiction"] = 0.9
    texts = pd.DataFrame({"premise": ["p"]})
    sure = frame.assign(logit_entailment=5.0)
    found = {merge: report.flips({"one": frame}, {"other": sure}, texts, merge=merge).examples
             for merge in ("argmax", "sum")}  # fmt: skip
    assert found["argmax"] == ()  # entailment before and after
    assert found["sum"][0].facets["what"] == "lost"


def test_changed_neighbours_are_of_both_or_of_either_from_least_to_most_agreed() -> None:
    one, two = np.array([[1, 2], [0, 2], [0, 1]]), np.array([[2, 1], [2, 3], [0, 3]])
    found = report.neighbour_changes({"large": one}, {"tiny": two}, ["zero", "one", "two", "three"], most=2)
    assert [one.facets["shared"] for one in found.examples] == ["1", "2"]
    assert found.examples[0].texts == [
        ("", "one", "one"), ("both, 2", "two", "two"), ("large, 1", "zero", ""), ("tiny, 2", "", "three"),
    ]  # fmt: skip
    page = found._repr_html_()
    assert re.findall(r"<del[^>]*>(.*?)</del>", page) == ["zero"]
    assert re.findall(r"<ins[^>]*>(.*?)</ins>", page) == ["three"]


@pytest.mark.parametrize(
    "evil", ["<img src=x onerror=alert(1)>", "' onclick='alert(1)", "</script><b>", "{0} {x}"]
)
def test_texts_labels_and_names_are_escaped_wherever_they_stand(evil: str) -> None:
    texts = pd.DataFrame({evil: [evil]})
    pair = {evil: predictions("a")}, {f"{evil}2": predictions("b")}
    pages = [
        report.flips(*pair, texts, facets={evil: evil}),
        report.neighbour_changes({evil: np.array([[1], [0]])}, {"b": np.array([[1], [1]])}, [evil, evil]),
        report.sheet(pd.DataFrame({evil: [evil]})),
        report.wide(pd.DataFrame({"row": [evil], "of": [evil], "value": [1.0]}), ["row"], ["of"]),
    ]
    for page in pages:
        shown = page._repr_html_().partition("<script>")[0]
        assert html.escape(evil) in shown
        assert evil not in shown or evil == html.escape(evil)


# -- frames ------------------------------------------------------------------------------------------------------


def test_tidy_values_stand_wide_in_order_with_chance_and_what_they_rest_on() -> None:
    rows = [("b", "x", 0.5, 0.25), ("b", "y", 1.0, np.nan), ("a", "y", 0.12345, np.nan)]
    tidy = pd.DataFrame(rows, columns=["method", "of", "value", "chance"])
    tidy = tidy.assign(
        low=[0.4, np.nan, 0.1], high=[0.6, np.nan, 0.2], n=[1200, np.nan, 5], seeds=[1, np.nan, 2]
    )
    found = report.wide(tidy, ["method"], ["of"])
    assert list(found.head) == ["method", "x", "y"]
    first = ("0.5 (0.25)", "1,200 items · 1 training seed · 95 % interval 0.4 to 0.6")
    assert found.rows[0] == [("b", ""), first, ("1", "")]
    last = ("0.123", "5 items · 2 training seeds · 95 % interval 0.1 to 0.2")
    assert found.rows[1] == [("a", ""), ("", ""), last]
    with pytest.raises(ValueError, match="b, x: given twice"):
        report.wide(pd.concat([tidy, tidy]), ["method"], ["of"])


def test_a_frame_shows_its_named_index_and_leaves_unknown_numbers_blank() -> None:
    frame = pd.DataFrame(
        {"value": [1.23456, np.nan], "count": pd.array([3, None], dtype="Int64"), "c": ["x", None]}
    )
    found = report.sheet(frame.set_index(pd.Index(["p", "q"], name="model")))
    assert [[text for text, _ in row] for row in found.rows] == [["p", "1.235", "3", "x"], ["q", "", "", ""]]
    assert list(report.sheet(frame).head) == ["value", "count", "c"]


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (1e-5, 3, "1e-05"), (-1.23e-4, 3, "-0.00012"), (0.04, 1, "0.04"), (0.0006, 3, "0.0006"), (0.001, 3, "0.001"),
        (-0.0, 3, "0"), (0.0, 3, "0"), (1234.0, 3, "1234"), (-2.5, 3, "-2.5"), (float("inf"), 3, "inf"),
    ],
)  # fmt: skip
def test_a_small_number_is_not_shown_as_none(value: float, digits: int, shown: str) -> None:
    assert report.sheet(pd.DataFrame({"p": [value]}), digits=digits).rows == [[(shown, "")]]


# -- LaTeX and remarks -------------------------------------------------------------------------------------------


def saved(tmp_path: Path, **about: Any) -> Path:
    awkward = pd.DataFrame(
        {"a_b & c": ["50 % of #1", "[x] \\ {y} ~ ^"], "ρ": ["≤ 3 → 4", "<$5|>"], "value": [1.5, 2]}
    )
    long = pd.DataFrame({"row": range(60), "low": 0.1, "high": 0.2})
    outputs = {"table_1": paper_table(), "claims": claims(), "table_frame": awkward, "table_long": long}
    report.save(tmp_path / "colab" / "05", outputs, about={"parameters": {"scale": "colab"}} | about)
    return tmp_path / "colab" / "05"


def test_latex_has_the_intervals_and_everything_is_escaped_and_closed(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    names = {file.stem for file in folder.glob("*.csv")}
    assert (
        {file.stem for file in folder.glob("*.tex")} == {file.stem for file in folder.glob("*.md")} == names
    )
    for file in folder.glob("*.tex"):
        text = file.read_text()
        assert text.isascii()
        assert sorted(re.findall(r"\\begin\{(\w+)", text)) == sorted(re.findall(r"\\end\{(\w+)", text))
        plain = re.sub(r"\\[\\%&#_{}$]", "", text)
        assert plain.count("{") == plain.count("}")
        assert plain.count("$") % 2 == 0
        assert "\\toprule" in text
    cell = next(one for one in paper_table().records if one["column"] == "MNLI m")
    limits = f"[{cell['low']:.1f}, {cell['high']:.1f}]"
    assert latex.escape(limits) in (folder / "table_1.tex").read_text()
    assert limits in (folder / "table_1.md").read_text()
    assert "longtable" in (folder / "table_long.tex").read_text().partition("\n")[2]
    assert r"50 \% of \#1" in (folder / "table_frame.tex").read_text()


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_latex_compiles(tmp_path: Path) -> None:
    folder = saved(tmp_path, remarks=[REMARK])
    inputs = "".join(rf"\input{{{file.name}}}" for file in sorted(folder.glob("*.tex")))
    article = rf"\documentclass{{article}}{latex.PREAMBLE}\begin{{document}}{inputs}\end{{document}}"
    (folder / "article.tex").write_text(article)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_remarks_of_the_run_stand_below_what_is_saved_and_what_is_shown_after_it(tmp_path: Path) -> None:
    folder = saved(tmp_path, remarks=[REMARK])
    for name in ("table_1", "claims", "table_frame"):
        assert f"Remark: {REMARK}" in (folder / f"{name}.md").read_text()
        assert f"Remark: {REMARK}" in (folder / f"{name}.tex").read_text()
    table = paper_table()
    assert "Remark" not in repr(table)
    report.save(tmp_path / "colab" / "05", {"table_1": table}, about={"remarks": [REMARK]})
    assert repr(table).endswith(f"Remark: {REMARK}")
    assert f"<div>Remark: {REMARK}</div></small>" in table._repr_html_()
    assert "Remark" not in (saved(tmp_path) / "claims.md").read_text()


# -- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as one:
        yield one


@pytest.fixture
def page(chromium: Browser, tmp_path: Path) -> Iterator[Page]:
    """A paper table, claims, examples and two frames on one page, on a phone."""
    frames = [pd.DataFrame({"n": [20, 100, 3]}), pd.DataFrame({"n": ["b", "-0.5", "", "a", "1e-05", "10"]})]
    parts = [paper_table(), claims(), attacks(8), *map(report.sheet, frames)]
    file = tmp_path / "page.html"
    body = "".join(part._repr_html_() for part in parts)
    file.write_text(
        f"<!doctype html><meta charset='utf-8'><meta name='viewport' content='width=device-width'>{body}"
    )
    with browser.opened(chromium, file.as_uri(), width=390) as watched:
        yield watched.page
        assert watched.errors == []
        assert watched.beyond("file:") == []


def seen(host: Locator, column: int) -> list[str]:
    return [row.locator("th, td").nth(column).inner_text().split("\n")[0]
            for row in host.locator("tbody tr:visible").all()]  # fmt: skip


def test_rows_are_sorted_by_number_up_down_and_back(page: Page) -> None:
    host = page.locator("table.live").nth(0)
    heads = host.locator("thead tr").last.locator("th")
    at = heads.all_inner_texts().index("m")
    head, before = heads.nth(at), seen(host, at)
    head.click()
    up = seen(host, at)
    assert list(map(float, up)) == sorted(map(float, before))
    assert head.get_attribute("aria-sort") == "ascending"
    head.press("Enter")
    assert list(map(float, seen(host, at))) == sorted(map(float, before), reverse=True)
    head.click()
    assert seen(host, at) == before
    plain = page.locator("table.live").nth(2)
    plain.locator("th").first.click()
    assert seen(plain, 0) == ["3", "20", "100"]


def test_numbers_stand_before_words_and_words_before_blanks_up_and_down(page: Page) -> None:
    host = page.locator("table.live").nth(3)
    head = host.locator("th").first
    head.click()
    assert seen(host, 0) == ["-0.5", "1e-05", "10", "a", "b", ""]
    head.click()
    assert seen(host, 0) == ["10", "1e-05", "-0.5", "b", "a", ""]


def test_the_columns_of_one_group_are_seen_alone(page: Page) -> None:
    host = page.locator("table.live").nth(0)
    choice = page.get_by_label("columns").first
    choice.select_option(label="Loyalty")
    heads = host.locator("thead tr").last.locator("th:visible")
    assert heads.all_inner_texts()[1:] == ["Label", "Probability"]
    choice.select_option(index=0)
    assert heads.count() == 1 + len(paper_table().units)


def test_claims_are_filtered_by_claim_verdict_and_words_and_keep_their_sentence(page: Page) -> None:
    host = page.locator("table.live").nth(1)
    page.get_by_label("verdict").select_option(label="✗ does not hold")
    assert seen(host, 0) == ["3.5-a", "", "3.5-c", "", "3.5-f", ""]
    assert seen(host, 2) == ["MNLI, 60%", "MNLI, 80%"] * 3
    page.get_by_label("claim", exact=True).select_option(label="3.5-f")
    assert seen(host, 1)[0] == "F_bias exceeds 1 at every level of sparsity."
    page.get_by_label("filter", exact=True).nth(1).fill("80%")
    assert seen(host, 0) == ["3.5-f"]
    assert page.get_by_text("1 of 12").count() == 1
    for label in ("verdict", "claim"):  # all again
        page.get_by_label(label, exact=True).select_option(index=0)
    page.get_by_label("filter", exact=True).nth(1).fill("")
    assert host.locator("tbody tr:visible").count() == 12


def test_examples_are_stepped_through_and_filtered(page: Page) -> None:
    host = page.locator("div.examples")

    def ids() -> list[str]:
        return [one.inner_text().split(" · ")[0] for one in host.locator(".example:visible").all()]

    assert ids() == ["id 0", "id 1", "id 2"]
    host.get_by_label("next").click()
    assert ids() == ["id 3", "id 4", "id 5"]
    host.get_by_label("victim").select_option("student")
    assert ids() == ["id 1", "id 3", "id 5"]
    host.get_by_label("next").click()
    assert ids() == ["id 7"]
    assert host.get_by_label("next").is_disabled()
    host.get_by_label("previous").click()
    assert ids() == ["id 1", "id 3", "id 5"]


def test_a_tap_tells_what_hovering_tells_and_a_phone_scrolls_only_tables(page: Page) -> None:
    page.locator("table.live").nth(0).locator("tbody tr").first.locator("td span").last.click()
    assert page.get_by_text("2,000 items · 3 training seeds", exact=False).first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

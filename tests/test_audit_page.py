"""The page of an audit: what it says, what it hides from nobody, and how it stands in a browser."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from robust_lib import report
from robust_lib.audit import findings, page
from robust_lib.audit.problems import AuditError, Problem
from tests import browser

HOSTILE = (
    '<script>document.title = "taken"</script><img src="https://example.org/x.png" onerror="alert(1)"> '
    "\"' onload=alert(2) {{ 7 * 7 }} \u202etfel ot thgir\u202c \x00\x1b[31m & <b>bold</b>"
)
SECOND = "second training"


def found(topic: str, measure: str, bed: str = "test", **known: Any) -> dict[str, Any]:
    """A row of findings; a triple is a number with its limits."""
    row = dict.fromkeys(findings.COLUMNS, math.nan) | {
        "topic": topic,
        "measure": measure,
        "set": bed,
        "part": "",
    }
    row |= {"unit": "%", "test": "", "control_from": "", "verdict": "", "n": 1821}
    for name, value in known.items():
        if isinstance(value, tuple):
            row |= dict(zip((name, *(_limit(name, end) for end in ("low", "high"))), value, strict=True))
        else:
            row[name] = value
    return row


def _limit(name: str, end: str) -> str:
    return end if name == "value" else f"{name}_{end}"


FINDINGS = pd.DataFrame(
    [
        found(
            "accuracy", "accuracy", original=(91.3, 90, 92.6), compressed=(88.2, 86.6, 89.7), value=(-3.1, -4.4, -1.8),
            test="McNemar, exact", p=1e-6, p_corrected=1e-5, control=(0.3, -0.8, 1.4), control_from=SECOND, chance=50.8,
            resolves=1.84, verdict="worse",
        ),
        found(
            "accuracy", "loss", unit="nats", original=(0.231, 0.21, 0.25), compressed=(0.34, 0.31, 0.37),
            value=(0.109, 0.08, 0.14), test="swapped", p=0.0001, p_corrected=0.0004, verdict="worse",
        ),
        found(
            "loyalty", "label loyalty", value=(90.1, 88.7, 91.4), control=(95.2, 94.1, 96.1), control_from=SECOND,
            chance=80.6, verdict="beyond a second training",
        ),
        found("out of distribution", "F_bias", "ood", unit="", value=(1.03, 0.74, math.inf), verdict="cannot be told"),
        found(
            "attack", "share fooled", original=(69, 62, 75), compressed=(66, 59, 72), value=(-3, -9, 3), n=200,
            verdict="no change seen",
        ),
        found(
            "cost", "size on disk", "", unit="MB", original=133.07, compressed=34.2, value=-98.87, n=math.nan,
            verdict="smaller",
        ),
        *(
            found(
                "accuracy", "accuracy", part=name, original=(91, 88, 94), compressed=(88, 84, 91), value=(-3, -6, 0.4),
                test="McNemar, exact", p=0.03, p_corrected=0.07, verdict="no change seen",
            )
            for name in ("length: 1 to 9", "length: 10 to 52")
        ),
    ],
    columns=list(findings.COLUMNS),
)  # fmt: skip

NUMBERS = list(FINDINGS.select_dtypes("number"))


def examples(texts: list[str]) -> dict[str, report.Examples]:
    """Each text as a flip and as an attacked one."""
    ids, sign = range(len(texts)), np.where(np.arange(len(texts)) % 2, 1.0, -1.0)
    said = {
        role: pd.DataFrame({"id": ids, "gold": "yes", "logit_no": -sense * sign, "logit_yes": sense * sign})
        for role, sense in (("original", 1), ("compressed", -1))
    }
    flips = report.flips(
        {"original": said["original"]},
        {"compressed": said["compressed"]},
        pd.DataFrame({"text": texts}),
        most=99,
    )
    rows = {"id": ids, "original": texts, "attacked": [f"{text} too" for text in texts]}
    attacks = report.attack_diffs(pd.DataFrame(rows).assign(before="no", after="yes", queries=7))
    return {"flips": flips, "attacks": attacks}


TEXTS = [f"text number {n} of them" for n in range(8)]
WHOLE = page.Audit(
    name="sst2: int8",
    about={
        "notebook": "07_audit",
        "parameters": {"minutes": 10},
        "versions": {"python": "3.11"},
        "git": None,
    },
    models={
        "original": {"place": "minilm", "classes": ("no", "yes"), "parameters": 22_713_986},
        "compressed": {"place": "model.onnx", "classes": ("no", "yes"), "parameters": None},
    },
    sets={"test": {"file": "reviews.csv", "rows": np.int64(1830), "values": {"0": "no", "1": "yes"}}},
    problems=[Problem("empty rows", "reviews.csv", "9 of 1,830 rows", "look at row 12")],
    findings=FINDINGS,
    summary=["2 measures got worse.", "Accuracy fell by 3.1 points."],
    unmeasured=[("neighbours", "an ONNX file has no hidden states")],
    rules=pd.DataFrame({"measure": ["accuracy"], "matters from": [2.0]}),
    budget=["10 minutes: 200 of 1,821 texts attacked."],
    **examples(TEXTS),
    figures={},
    frames={
        "predictions_test": pd.DataFrame({"id": [0, 1], "gold": ["no", "yes"], "logit_no": [0.1, math.nan]})
    },
)
LEAST = replace(
    WHOLE, problems=[], findings=FINDINGS.iloc[:1], summary=["Nothing was measured."], unmeasured=[], budget=[],
    rules=pd.DataFrame(), models={}, sets={}, flips=report.Examples(), attacks=report.Examples(), frames={},
)  # fmt: skip


def soup(folder: Path) -> BeautifulSoup:
    return BeautifulSoup((folder / "audit.html").read_text(encoding="utf-8"), "html.parser")


def row_of(table: Any, first: str) -> dict[str, str]:
    """The texts of the row whose first cell says so, by the column."""
    cells = next(row for row in table.select("tbody tr") if row.td.text.startswith(first)).find_all("td")
    return {cell["data-head"]: cell.text for cell in cells}


# -- files ----------------------------------------------------------------------------------------------------


def test_the_json_holds_what_its_description_says_in_that_order(tmp_path: Path) -> None:
    page.write(tmp_path, WHOLE)
    told = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert page.__doc__
    assert list(told) == re.findall(r"^    ([a-z]+)  +\S", page.__doc__, re.M)
    assert (told["format"], told["name"], told["summary"]) == (1, WHOLE.name, WHOLE.summary)
    assert told["problems"] == [
        {"kind": "empty rows", "where": "reviews.csv", "told": "9 of 1,830 rows", "remedy": "look at row 12"}
    ]
    assert told["sets"]["test"] == {"file": "reviews.csv", "rows": 1830, "values": {"0": "no", "1": "yes"}}
    assert told["unmeasured"] == [{"measure": "neighbours", "reason": "an ONNX file has no hidden states"}]
    assert told["frames"]["predictions_test"] == {
        "file": "predictions_test.csv", "rows": 2, "columns": ["id", "gold", "logit_no"]
    }  # fmt: skip
    assert not any(text in json.dumps(told) for text in TEXTS)


def test_json_and_csv_hold_every_finding_to_the_last_digit(tmp_path: Path) -> None:
    page.write(tmp_path, WHOLE)
    told = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    bounded = FINDINGS.replace(math.inf, math.nan)
    pd.testing.assert_frame_equal(
        pd.DataFrame(told["findings"]).astype(FINDINGS.dtypes.to_dict()), bounded, check_exact=True
    )
    assert told["findings"][3]["high"] is None  # unbounded
    read = pd.read_csv(
        tmp_path / "findings.csv", keep_default_na=False, na_values={name: [""] for name in NUMBERS}
    )
    pd.testing.assert_frame_equal(read, FINDINGS, check_exact=True, check_dtype=False)


def test_the_same_audit_gives_the_same_bytes_and_replaces_what_was_there(tmp_path: Path) -> None:
    written = page.write(tmp_path / "a", WHOLE)
    assert [file.name for file in written] == [
        "audit.html", "predictions_test.csv", "findings.csv", "audit.json"
    ]  # fmt: skip
    page.write(tmp_path / "b", LEAST)
    page.write(tmp_path / "b", WHOLE)
    for file in written:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert {file.name for file in (tmp_path / "a").iterdir()} == {file.name for file in written}


def test_a_frame_that_cannot_be_a_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"^frame '\.\./x': use lower-case letters"):
        page.write(tmp_path / "new", replace(WHOLE, frames={"../x": FINDINGS}))
    assert not (tmp_path / "new").exists()


def test_a_figure_stands_with_its_topic_or_is_refused(tmp_path: Path) -> None:
    own = page.figure(FINDINGS)
    assert own is not None
    page.write(tmp_path, replace(WHOLE, figures={"loyalty": own}))
    assert soup(tmp_path).select_one("#loyalty img")["alt"] == "loyalty"
    with pytest.raises(
        AuditError, match=r"^figure 'calibration': it stands with no findings; use differences, slices"
    ):
        page.write(tmp_path, replace(WHOLE, figures={"calibration": own}))


def test_a_page_of_many_slices_and_examples_stays_small(tmp_path: Path) -> None:
    """60 slices by two measures, 200 examples of 200 words: below 3 MB."""
    parts = [FINDINGS.iloc[at].to_dict() | {"part": f"source: {n}"} for n in range(60) for at in (0, 2)]
    many = replace(WHOLE, findings=pd.DataFrame([*FINDINGS.to_dict("records"), *parts]))
    page.write(tmp_path, replace(many, **examples(["many words " * 100] * 200)))
    assert (tmp_path / "audit.html").stat().st_size < 3e6
    assert len(soup(tmp_path).select("#slices tbody tr")) == 122


# -- what the page says ---------------------------------------------------------------------------------------


def test_numbers_stand_with_unit_interval_control_and_verdict(tmp_path: Path) -> None:
    page.write(tmp_path, WHOLE)
    told = soup(tmp_path)
    assert row_of(told.select_one("#accuracy table"), "accuracy") == {
        "measure": "accuracy test", "original": "91.3 % 90.0 to 92.6", "compressed": "88.2 % 86.6 to 89.7",
        "difference": "−3.1 points −4.4 to −1.8", "n": "1,821 resolves 1.8 points",
        "p, corrected": "< 0.0001 McNemar, exact",
        SECOND: "0.3 points −0.8 to 1.4", "chance": "50.8 %", "verdict": "worse",
    }  # fmt: skip
    assert row_of(told.select_one("#loyalty table"), "label loyalty") == {
        "measure": "label loyalty test", "of the pair": "90.1 % 88.7 to 91.4", "n": "1,821",
        SECOND: "95.2 % 94.1 to 96.1", "chance": "80.6 %", "verdict": "beyond a second training",
    }  # fmt: skip
    bias = row_of(told.select_one("#out_of_distribution table"), "F_bias")
    assert bias["of the pair"] == "1.030 0.740 to unbounded"
    assert row_of(told.select_one("#cost table"), "size")["difference"] == "−98.87 MB"
    assert row_of(told.select_one("#slices table"), "length: 1 to 9")["measure"] == "accuracy test"
    assert [cell.text for cell in told.select("td.bad")] == ["worse", "worse", "beyond a second training"]
    assert [cell.text for cell in told.select("td.good")] == ["smaller"]


def test_sources_of_controls_are_told_in_each_row_where_they_differ(tmp_path: Path) -> None:
    rows = FINDINGS.iloc[:2].assign(control=0.1, control_from=[SECOND, "micro world"])
    page.write(tmp_path, replace(WHOLE, findings=rows))
    told = row_of(soup(tmp_path).select_one("#accuracy table"), "loss")
    assert told["control"] == "0.100 nats micro world"


def test_what_is_missing_leaves_no_heading_behind(tmp_path: Path) -> None:
    page.write(tmp_path, LEAST)
    told = soup(tmp_path)
    assert [head.text for head in told.select("h2, h3")] == [
        "What changed", "Accuracy", "How it was measured", "Run", "Files beside this page"
    ]  # fmt: skip
    page.write(tmp_path, WHOLE)
    whole = [head.text for head in soup(tmp_path).select("h2")]
    assert whole == [
        "In short", "Problems found in what was given", "What changed", "Accuracy", "Loyalty", "Out of distribution",
        "Attack", "Slices", "Examples that flip", "Attacked texts", "Cost", "Not measured", "How it was measured",
    ]  # fmt: skip
    for one in (told, soup(tmp_path)):
        assert {link["href"][1:] for link in one.select("nav a")} <= {
            part["id"] for part in one.select("section")
        }


def test_a_page_without_examples_holds_no_text(tmp_path: Path) -> None:
    page.write(tmp_path, replace(WHOLE, flips=report.Examples(), attacks=report.Examples()))
    for file in tmp_path.iterdir():
        assert "text number" not in file.read_text(encoding="utf-8")
    page.write(tmp_path, WHOLE)
    assert all((tmp_path / "audit.html").read_text(encoding="utf-8").count(text) > 1 for text in TEXTS)


def test_hostile_words_are_shown_and_do_nothing(tmp_path: Path) -> None:
    hostile = replace(
        WHOLE, name=f"{HOSTILE}\ud800", about={HOSTILE: [HOSTILE]}, models={HOSTILE: {HOSTILE: HOSTILE}},
        sets={"test": {"values": {HOSTILE: HOSTILE}}}, problems=[Problem(HOSTILE, HOSTILE, HOSTILE, HOSTILE)],
        findings=FINDINGS.assign(part=[*[""] * 6, f"column: {HOSTILE}", "$x_{$"], verdict=HOSTILE, test=HOSTILE),
        summary=[HOSTILE] * 2, unmeasured=[(HOSTILE, HOSTILE)], budget=[HOSTILE],
        rules=pd.DataFrame({HOSTILE: [HOSTILE]}), frames={"texts": pd.DataFrame({"text": [HOSTILE]})},
        **examples([HOSTILE] * 5),
    )  # fmt: skip
    page.write(tmp_path, hostile)
    source = (tmp_path / "audit.html").read_text(encoding="utf-8")
    told = soup(tmp_path)
    assert len(told.find_all("script")) == 1
    assert all(str(image["src"]).startswith("data:") for image in told.find_all("img"))
    assert not [tag.name for tag in told.find_all() if any(name.startswith("on") for name in tag.attrs)]
    assert not set(source) & {"\x00", "\x1b", "\u202e", "\ud800"}
    shown = told.h1.text
    assert shown.startswith('<script>document.title = "taken"</script><img src=')
    assert shown.endswith("{{ 7 * 7 }} [U+202E]tfel ot thgir[U+202C] ␀␛[31m & <b>bold</b>\ufffd")
    assert json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))["name"] == f"{HOSTILE}\ud800"


# -- figures --------------------------------------------------------------------------------------------------


def points(figure: Any, axis: int = 0) -> list[tuple[float, str, str]]:
    """Place, marker and colour of each point of a figure."""
    lines = [line for line in figure.axes[axis].lines if line.get_marker() not in ("None", "", None)]
    return [(round(float(line.get_xdata()[0]), 6), line.get_marker(), line.get_color()) for line in lines]


def test_changes_stand_in_units_of_what_matters_and_worse_is_left() -> None:
    figure = page.figure(FINDINGS)
    assert figure is not None
    accuracy, loss, loyalty, bias, fooled = points(figure)
    assert (accuracy[0], loss[0]) == (-1.55, -2.18)  # -3.1 / 2 and -0.109 / 0.05
    assert loyalty[0] == round((90.1 - 95.2) / 2, 6)  # below what two trainings agree on
    assert (bias[0], fooled[0]) == (-0.3, 3 / 5)
    assert [marker for _, marker, _ in (accuracy, loss, loyalty, bias, fooled)] == ["v", "v", "v", "X", "o"]
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names[:2] == ["accuracy · test", "−3.1 points"]
    assert not any("size" in name for name in names)


def test_a_change_beyond_the_axis_stands_at_its_end_as_an_arrow() -> None:
    far = FINDINGS.iloc[:1].assign(value=-40.0, low=-44.0, high=-36.0)
    figure = page.figure(far)
    assert figure is not None
    ((place, marker, _),) = points(figure)
    assert (place, marker) == (figure.axes[0].get_xlim()[0], "<")


def test_slices_stand_beside_the_whole_set() -> None:
    figure = page.slices_figure(FINDINGS)
    assert figure is not None
    assert [place for place, _, _ in points(figure)] == [-3, -3]
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [float(line.get_xdata()[0]) for line in dashed] == [-3.1]
    assert page.slices_figure(FINDINGS[FINDINGS["part"] == ""]) is None
    assert page.figure(FINDINGS.iloc[:0]) is None


# -- in the browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as one:
        yield one


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with hostile words among the others."""
    folder = tmp_path_factory.mktemp("page")
    slices = FINDINGS.assign(part=[*[""] * 6, f"column: {HOSTILE}", "a_slice_of_" + "a_very_long_name" * 8])
    hostile = replace(
        WHOLE, summary=[HOSTILE] * 2, findings=slices, **examples([*TEXTS, HOSTILE, "long" * 200])
    )
    return page.write(folder, hostile)[0].as_uri()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole_at_every_width_and_asks_for_nothing(
    chromium: Browser, address: str, width: int, tmp_path: Path
) -> None:
    with browser.opened(chromium, address, width=width) as watched:
        broken = "[...document.images].filter(image => !image.naturalWidth).length"
        assert watched.page.evaluate(f"[document.images.length, {broken}]") == [2, 0]
        beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert watched.page.evaluate(beyond) == 0
        assert watched.page.title() == f"Audit: {WHOLE.name}"
        assert watched.page.locator("#flipped .example:visible").count() == 3
        watched.page.get_by_label("next").first.click()
        assert "id" in watched.page.locator("#flipped .example:visible").first.inner_text()
        assert watched.errors == []
        assert watched.beyond("file://") == []


def test_the_page_runs_no_script_but_its_own(chromium: Browser, tmp_path: Path) -> None:
    """Should a word ever come through unescaped, the browser does not run it, and asks no one for it."""
    file = page.write(tmp_path, WHOLE)[0]
    planted = '<script>document.title = "taken"</script><img src="https://example.org/x" onerror="document.title = 1">'
    file.write_text(file.read_text(encoding="utf-8").replace("<main>", f"<main>{planted}"), encoding="utf-8")
    with browser.opened(chromium, file.as_uri()) as watched:
        assert watched.page.title() == f"Audit: {WHOLE.name}"
        assert any("Content Security Policy" in error for error in watched.errors)
        assert watched.page.get_by_label("next").count() == 2  # its own does run


def test_without_scripts_all_is_there(chromium: Browser, address: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    try:
        tab = context.new_page()
        tab.goto(address)
        assert tab.locator("#slices tbody tr:visible").count() == 2
        assert tab.locator("#flipped .example:visible").count() == 3
        tab.locator("#flipped summary").click()
        assert tab.locator("#flipped .example:visible").count() == 10
        assert tab.locator("button:visible, input:visible").count() == 0
    finally:
        context.close()


# The words that differ least in brightness (0 to 1) from the page, and by how much.
FAINTEST = """() => {
    const bright = color => {
        const [red, green, blue] = color.match(/[0-9.]+/g);
        return (0.3 * red + 0.59 * green + 0.11 * blue) / 255;
    };
    const ground = bright(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll("main *")].filter(one => one.checkVisibility())
        .map(one => [Math.abs(bright(getComputedStyle(one).color) - ground), one.outerHTML.slice(0, 200)])
        .sort(([one], [other]) => one - other)[0];
}"""


@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(19, 20, 22)")])
def test_the_page_is_legible_by_day_and_by_night(
    chromium: Browser, address: str, scheme: Any, ground: str
) -> None:
    with browser.opened(chromium, address) as watched:
        watched.page.emulate_media(color_scheme=scheme)
        assert watched.page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        contrast, element = watched.page.evaluate(FAINTEST)
        assert contrast > 0.4, element


def test_it_is_printed_on_the_width_of_the_paper(chromium: Browser, address: str) -> None:
    with browser.opened(chromium, address, width=718) as watched:  # A4 within margins of a centimetre
        watched.page.emulate_media(media="print")
        beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert watched.page.evaluate(beyond) == 0
        cut = (
            "[...document.querySelectorAll('.wide')].filter(one => one.scrollWidth > one.clientWidth).length"
        )
        assert watched.page.evaluate(cut) == 0
        assert not watched.page.locator("nav").is_visible()

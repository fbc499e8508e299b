"""Tables that nobody shaped: how they are read, what is guessed of them and told, and what is refused."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robust_lib.audit import files, guesses, tables
from robust_lib.audit.problems import AuditError
from robust_lib.audit.tables import Table
from tests import hub
from tests.test_data_hub import parquet

SENTIMENT = ("negative", "positive")
NLI = ("contradiction", "entailment", "neutral")


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a file, text or bytes, and gives its name."""

    def writing(name: str, content: str | bytes, encoding: str = "utf-8") -> str:
        content = content.encode(encoding) if isinstance(content, str) else content
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return writing


def used(place: str, classes: tuple[str, ...] = SENTIMENT, **given: Any) -> pd.DataFrame:
    return Table(place, **given).resolved(classes)[0].frame()


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Ids, texts and labels of a frame with one text column first."""
    return list(zip(frame.index, frame.iloc[:, 0], frame["label"], strict=True))


# ------------------------------------------------------------------------------------------------ odd files

ODD = """Kommentar;Stimmung;Sterne
"Sehr gut; wirklich ""gut""\";Pos;5
;;
"zwei
Zeilen";neg;1
   ;neg;2
mäßig;;3
;;
"""
KEPT = [(0, 'Sehr gut; wirklich "gut"', "positive"), (2, "zwei\nZeilen", "negative")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_semicolons_words_as_labels_and_empty_rows_in_every_encoding(write: Any, encoding: str) -> None:
    table, lines = Table(write("a.csv", ODD, encoding), text=("Kommentar",)).resolved(SENTIMENT)
    assert rows(table.frame()) == KEPT
    assert table.frame()["Sterne"].tolist() == [5.0, 1.0]
    assert table.label == "Stimmung"
    assert dict(table.values) == {"Pos": "positive", "neg": "negative"}
    problems = {problem.kind: problem.told for problem in table.problems()}
    assert problems.pop("encoding", "").startswith("byte ") == (encoding == "cp1252")
    assert problems == {
        "empty rows": "2 of 6 rows hold nothing in any column, and are left out: rows 1, 5",
        "empty texts": "1 of 6 rows hold no text, or only spaces, and are left out: row 3",
        "rows without label": "1 of 6 rows hold a text and no label, and are left out: row 4",
    }
    assert all(line.startswith("a.csv: ") for line in lines)
    assert "6 rows of 3 columns, semicolon separated" in lines[0]
    assert "'Pos' is positive" in lines[-1]


def test_an_encoding_that_is_a_guess_is_told(write: Any) -> None:
    place = write("a.csv", "text,label\ncafé,pos\n", "latin-1")
    assert used(place)["text"].tolist() == ["café"]
    assert "Latin-1" in Table(place).resolved(SENTIMENT)[1][0]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_told_from_column_counts_alone(write: Any, separator: str) -> None:
    others = ",;\t|".replace(separator, "")
    lines = [f"label{separator}text", *(f"pos{separator}good {others} film {others}" for _ in range(3))]
    frame = used(write("a.csv", "\n".join(lines)))
    assert frame["text"].tolist() == [f"good {others} film {others}"] * 3


def test_tabs_in_a_csv_and_an_index_column_without_a_name(write: Any) -> None:
    written = pd.DataFrame({"text": ["good, very", "bad"], "label": ["pos", "neg"]}).to_csv(sep="\t")
    frame = used(write("a.csv", written))
    assert rows(frame.drop(columns="unnamed 1")) == [(0, "good, very", "positive"), (1, "bad", "negative")]


def test_quotes_that_are_part_of_the_texts(write: Any) -> None:
    """As GLUE writes SST-2 and MNLI: lines are rows, and a quote opens nothing."""
    place = write("a.tsv", 'sentence\tlabel\n"a good film\t1\nthe other" one\t0\n"so" it goes\t1\n')
    assert used(place)["sentence"].tolist() == ['"a good film', 'the other" one', '"so" it goes']
    assert "quotes read as part of the texts" in Table(place).resolved(SENTIMENT)[1][0]
    swallowed = write("b.tsv", 'sentence\tlabel\n"a good\t1\nfilm"\t0\n')
    assert used(swallowed)["sentence"].tolist() == ['"a good', 'film"']


def test_excel_carriage_returns_trailing_separators_and_one_column(write: Any) -> None:
    excel = write("a.csv", "sep=;\r\ntext;label;;\r\ngood;pos;;\r\nbad;neg;;\r\n")
    assert list(used(excel)) == ["text", "label"]
    mac = write("b.csv", "text,label\rgood,pos\rbad,neg")
    assert len(used(mac)) == 2
    single = used(write("c.txt", "text\ngood, very good\nbad; very\n"))
    assert single["text"].tolist() == ["good, very good", "bad; very"]
    assert single["label"].isna().all()


def test_json_lines_and_arrays_zipped_or_not(write: Any) -> None:
    records = [
        {"text": "good\u2028 film", "label": 1.0, "tags": ["a"]},
        {},
        {"text": "bad", "label": 0, "n": 3},
    ]
    lines = "\n".join(map(json.dumps, records)) + "\n"
    for name, content in {
        "a.jsonl": lines,
        "a.json": json.dumps(records, indent=1),
        "b.json": lines,
        "a.jsonl.gz": gzip.compress(lines.encode()),
    }.items():
        table = Table(write(name, content)).resolved(SENTIMENT)[0]
        assert rows(table.frame()) == [(0, "good\u2028 film", "positive"), (2, "bad", "negative")]
        assert table.frame()["tags"].tolist()[0] == "['a']"
        assert [problem.kind for problem in table.problems()] == ["empty rows"]


def test_parquet_brings_its_label_names(write: Any) -> None:
    columns = {"text": ["good", "bad", "so so"], "label": [0, 1, -1]}
    table, lines = Table(write("a.parquet", parquet(columns, ["pos", "neg"]))).resolved(SENTIMENT)
    assert rows(table.frame()) == [(0, "good", "positive"), (1, "bad", "negative")]
    assert [problem.kind for problem in table.problems()] == ["rows without label"]
    assert "as they came with the data: pos, neg" in lines[0]


def test_a_split_of_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"text": ["good", "bad", "so so"], "label": [0, 1, -1]}
    held = {"some/reviews": {"data/test-00000-of-00001.parquet": parquet(columns, ["pos", "neg"])}}
    monkeypatch.setattr(hub, "_Handler", Listing)
    ask = (
        "import sys; from robust_lib.audit.tables import Table; "
        "table = Table('some/reviews/test').resolved(('negative', 'positive'))[0]; "
        "print(table.frame().to_json(orient='split'))"
    )
    with hub.serving(held) as running:
        settings = {"HF_ENDPOINT": running.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        environment = os.environ | settings | {"HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", ask]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    frame = json.loads(done.stdout)
    assert frame["data"] == [["good", "positive"], ["bad", "negative"]]


class Listing(hub._Handler):
    """The hub of the other tests, which also lists a repository's files, as `datasets` asks."""

    def do_GET(self) -> None:
        asked = re.fullmatch(r"/api/datasets/([^/]+/[^/?]+)(/tree/[^/?]+/?([^?]*))?(\?.*)?", self.path)
        if asked is None or asked[1] not in self.hub.repositories:
            super().do_GET()
            return
        names = list(self.hub.repositories[asked[1]])
        body: Any = {"id": asked[1], "sha": hub.COMMIT, "siblings": [{"rfilename": name} for name in names]}
        if asked[2]:
            inside = [name for name in names if name.rpartition("/")[0] == asked[3]]
            folders = {name.split("/")[0] for name in names if "/" in name} if not asked[3] else set()
            body = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in inside]
            body += [{"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders)]
        self._send(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


def test_a_hub_that_does_not_answer_is_one_error() -> None:
    with pytest.raises(
        AuditError, match=r"hub's nobody/nothing, split 'test', cannot be had .* or give a file"
    ):
        files.read("nobody/nothing/test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\ngood,pos\nbad, very bad,neg\n", r"line 3: 3 fields where the header has 2"),
        ("a.csv", "", "no rows"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.csv", "text,text,label\na,b,pos\n", "column 'text' occurs twice"),
        ("a.csv", "text;a,label;b\nx;y,z;1\n", "as comma separated and as semicolon separated"),
        ("a.csv", "a good film,1\na bad film,0\n", "looks like data, not like column names"),
        ("a.csv", "pos,good\nneg,bad\npos,well\n", "looks like data, not like column names"),
        ("a.csv", b"\xff\xfet\x00e\x00x", "not the utf-16 that it begins as"),
        ("a.csv.gz", b"\x1f\x8bxx", "cannot be unpacked"),
        ("a.jsonl", '{"text": "a"}\n{"text"', "line 2 is no JSON"),
        ("a.json", "[1, 2]", "record 0 is no object"),
        ("a.json", '["a"', "no JSON"),
        ("a.parquet", b"PAR1 and no more", "not a readable parquet file"),
        ("a.xlsx", b"PK", "save it as one of these"),
    ],
)
def test_files_that_are_refused(write: Any, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(AuditError, match=message) as error:
        Table(write(name, content)).resolved(SENTIMENT)
    assert name in str(error.value)


@pytest.mark.parametrize("place", ["missing.csv", "a folder", "/no/such/file.parquet", "imdb", "a/b/c/d/e"])
def test_places_that_do_not_exist(place: str) -> None:
    with pytest.raises(AuditError, match="no such file: give a file"):
        Table(place).resolved(SENTIMENT)


# -------------------------------------------------------------------------------------------------- guesses


def table(write: Any, columns: dict[str, list[Any]]) -> str:
    return write("t.jsonl", pd.DataFrame(columns).to_json(orient="records", lines=True))


LONG = ["one two three four", "five six seven eight", "nine ten eleven twelve"]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"Sentence": LONG, "title": LONG}, ("Sentence",)),
        ({"hypothesis": LONG, "premise": LONG}, ("premise", "hypothesis")),
        ({"question": LONG, "sentence": LONG}, ("question", "sentence")),
        ({"text a": LONG, "Text-B": LONG}, ("text a", "Text-B")),
        ({"what they wrote": LONG, "author": ["Ann Lee", "Bo Li", "Cy Ng"]}, ("what they wrote",)),
        ({"text": [1, 2, 3], "said": LONG}, ("said",)),  # numbers are no texts, whatever they are called
    ],
)
def test_text_columns(write: Any, columns: dict[str, list[Any]], text: tuple[str, ...]) -> None:
    found, lines = Table(table(write, columns | {"label": ["pos", "neg", "pos"]})).resolved(SENTIMENT)
    assert found.text == text
    assert any("text is" in line and "guessed" in line for line in lines)


@pytest.mark.parametrize(
    "columns",
    [
        {"text": LONG, "review": LONG},
        {"a": LONG, "b": LONG},
        {"code": ["a", "b", "c"]},
        {"premise": LONG, "hypothesis": LONG, "sentence1": LONG, "sentence2": LONG},
    ],
)
def test_text_columns_that_are_ambiguous(write: Any, columns: dict[str, list[Any]]) -> None:
    with pytest.raises(AuditError, match=r"t\.jsonl: .* as `text`, of "):
        Table(table(write, columns | {"label": ["pos", "neg", "pos"]})).resolved(SENTIMENT)


def test_text_columns_follow_those_of_the_test_set(write: Any) -> None:
    place = table(write, {"said": LONG, "text": LONG, "question": LONG, "sentence": LONG})
    assert Table(place).resolved(SENTIMENT, text=("said",))[0].text == ("said",)
    assert Table(place).resolved(SENTIMENT, text=("review", "reply"))[0].text == ("question", "sentence")
    with pytest.raises(AuditError, match="one column, or two for a pair, as many in every set"):
        Table(place, text=("said", "text")).resolved(SENTIMENT, text=("said",))
    with pytest.raises(AuditError, match=r"`text` names 'Said'; the columns are .*; did you mean 'said'"):
        Table(place, text=("Said",)).resolved(SENTIMENT)


@pytest.mark.parametrize(
    ("classes", "values", "label"),
    [
        (SENTIMENT, ["POSITIVE", " negative", "positive"], ["positive", "negative", "positive"]),
        (SENTIMENT, ["neg", "pos", "neg"], ["negative", "positive", "negative"]),
        (("NEGATIVE", "POSITIVE"), ["neg", "pos", "neg"], ["NEGATIVE", "POSITIVE", "NEGATIVE"]),
        (("LABEL_0", "LABEL_1"), [0, 1, 1], ["LABEL_0", "LABEL_1", "LABEL_1"]),
        (("2 stars", "1 star"), ["1.0", "2.0", "1.0"], ["1 star", "2 stars", "1 star"]),
        (("NOT ENOUGH INFO", "SUPPORTS"), ["not_enough_info", "supported", "NEI"], None),
        (
            NLI,
            ["non_entailment", "entailment", "not-entailment"],
            ["non-entailment", "entailment", "non-entailment"],
        ),
        (NLI, ["entailment", "entailment", "neutral"], ["entailment", "entailment", "neutral"]),
    ],
)
def test_values_mean_the_classes_they_name(
    write: Any, classes: tuple[str, ...], values: list[Any], label: list[str] | None
) -> None:
    frame = used(table(write, {"text": LONG, "label": values}), classes)
    assert frame["label"].tolist() == (label or ["NOT ENOUGH INFO", "SUPPORTS", "NOT ENOUGH INFO"])


def test_integers_by_order_are_a_guess_that_is_told(write: Any) -> None:
    place = table(write, {"text": LONG, "label": [0, 1, 0]})
    found, lines = Table(place).resolved(("bad", "good"))
    assert found.frame()["label"].tolist() == ["bad", "good", "bad"]
    assert "guessed by the order of the model's classes; `values` settles it" in lines[-1]
    given = Table(place, values=(("0", "good"), ("1", "bad"))).resolved(("bad", "good"))
    assert given[0].frame()["label"].tolist() == ["good", "bad", "good"]
    assert not any("order" in line for line in given[1])


@pytest.mark.parametrize(
    "values", [[1, 2, 2], [0, 0, 0], [0, 2, 1], ["good", "bad", "mixed"], [None, None, None]]
)
def test_values_that_mean_nothing_sure_are_refused(write: Any, values: list[Any]) -> None:
    with pytest.raises(
        AuditError, match=r"column 'label': (its values are .* classes are .* values: \{|it is empty)"
    ):
        Table(table(write, {"text": LONG, "label": values})).resolved(("bad", "good"))


def test_values_that_are_given_go_to_classes_that_exist(write: Any) -> None:
    place = table(write, {"text": LONG, "label": ["gut", "schlecht", "gut"]})
    given = (("gut", "positive"), ("schlecht", "negative"))
    assert used(place, values=given)["label"].tolist() == ["positive", "negative", "positive"]
    with pytest.raises(AuditError, match="`values` means 'good'; the model's classes are"):
        Table(place, values=(("gut", "good"),)).resolved(SENTIMENT)
    with pytest.raises(AuditError, match="'schlecht' cannot be read"):
        Table(place, values=given[:1]).resolved(SENTIMENT)


def test_label_columns(write: Any) -> None:
    words = ["pos", "neg", "pos"]
    named = {"label": [1, 0, 1], "label_text": words}
    assert (
        Table(table(write, {"text": LONG, **named})).resolved(("positive", "negative"))[0].label
        == "label_text"
    )
    assert (
        Table(table(write, {"text": LONG, "category": ["x", "y", "z"], "said": words}))
        .resolved(SENTIMENT)[0]
        .label
        == "said"
    )
    assert Table(table(write, {"text": LONG, "year": [0, 1, 0]})).resolved(SENTIMENT)[0].label is None
    with pytest.raises(AuditError, match="'label' and 'gold' may both be the label and differ in 1 rows"):
        Table(table(write, {"text": LONG, "label": words, "gold": ["pos", "neg", "neg"]})).resolved(SENTIMENT)
    with pytest.raises(AuditError, match="'ann', 'bob' may all be the label"):
        Table(table(write, {"text": LONG, "ann": words, "bob": words})).resolved(SENTIMENT)
    with pytest.raises(AuditError, match="column 'label': its values are"):  # not the predictions beside it
        Table(table(write, {"text": LONG, "label": ["gut", "x", "y"], "predicted": words})).resolved(
            SENTIMENT
        )
    with pytest.raises(AuditError, match=r"`label` names 'lable'; .* did you mean 'label'"):
        Table(table(write, {"text": LONG, "label": words}), label="lable").resolved(SENTIMENT)


def test_what_is_guessed_of_a_guess_is_the_same(write: Any) -> None:
    place = write("a.csv", ODD)
    first = Table(place, text=("Kommentar",)).resolved(SENTIMENT)[0]
    assert first.resolved(SENTIMENT)[0] == first


# ---------------------------------------------------------------------------------------------------- frames


def test_repeated_texts_and_contradictory_labels(write: Any) -> None:
    place = write("a.csv", "text,label\na,pos\nb,pos\na,pos\nb,neg\nc,neg\na,pos\n")
    found = Table(place).resolved(SENTIMENT)[0]
    assert len(found.frame()) == 6
    assert [(problem.kind, problem.told) for problem in found.problems()] == [
        ("repeated texts", f"2 of 6 rows {tables._TOLD['repeated texts']}: rows 2, 5"),
        ("contradictory labels", f"2 of 6 rows {tables._TOLD['contradictory labels']}: rows 1, 3"),
    ]


def test_columns_called_like_ours_are_renamed_and_all_are_of_one_type(write: Any, tmp_path: Path) -> None:
    columns = {"text": LONG, "gold_label": ["pos", "neg", "pos"], "id": [7, "x", 9], "gold": [1, 2, 3]}
    more = {"label": [None, {"a": 1}, "b"], "logit_x": [0.5, 1, None], "flag": [True, False, True]}
    frame = used(table(write, columns | more), label="gold_label")
    assert list(frame) == [
        "text",
        "id (file)",
        "gold (file)",
        "label (file)",
        "logit_x (file)",
        "flag",
        "label",
    ]
    assert frame["id (file)"].tolist() == ["7", "x", "9"]
    assert frame["logit_x (file)"].dtype == float
    assert frame["flag"].dtype == bool
    frame.reset_index().to_parquet(tmp_path / "kept.parquet")
    assert pd.read_parquet(tmp_path / "kept.parquet").set_index("id").equals(frame)


def test_ten_thousand_rows_are_drawn_in_proportion(write: Any) -> None:
    lines = [f'"text, number {row}",{"pos" if row % 4 == 0 else "neg"}' for row in range(10_000)]
    place = write("a.csv", "text,label\n" + "\n".join(lines))
    whole = Table(place).resolved(SENTIMENT)[0]
    drawn = Table(place, size=1000, seed=1).resolved(SENTIMENT)[0]
    assert len(whole.frame()) == 10_000
    assert drawn.frame()["label"].value_counts().to_dict() == {"negative": 750, "positive": 250}
    assert drawn.frame().index.is_monotonic_increasing
    assert drawn.frame().equals(drawn.frame())
    other = Table(place, size=1000, seed=2).resolved(SENTIMENT)[0]
    assert set(other.frame().index) != set(drawn.frame().index)
    assert len({found.fingerprint() for found in (whole, drawn, other)}) == 3
    assert len(Table(place, size=20_000).resolved(SENTIMENT)[0].frame()) == 10_000


def test_fingerprints_follow_content_and_not_the_place(write: Any) -> None:
    first, same = (Table(write(name, "text,label\na,pos\n"), text=("text",)) for name in ("a.csv", "b.csv"))
    other = Table(write("c.csv", "text,label\na,neg\n"), text=("text",))
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()


def test_texts_that_are_none_and_tables_with_nothing_left(write: Any) -> None:
    with pytest.raises(AuditError, match="row 1: no text in 'text'"):
        Table(table(write, {"text": ["a", ["b"], "c"]}), text=("text",)).frame()
    place = write("a.csv", "text,label\n,pos\nbad,\n")
    empty = Table(place, text=("text",), label="label", values=(("pos", "positive"),))
    with pytest.raises(AuditError, match="none of its 2 rows has a value in each of 'text', 'label'"):
        empty.frame()
    with pytest.raises(AuditError, match="no text columns are named"):
        Table(write("b.csv", "text,label\na,pos\n")).frame()


def test_label_words_are_read_as_written() -> None:
    written = pd.Series([1.0, "2.0", True, " a ", None, "-", "nan", "-1", 3])
    assert guesses.words(written).tolist() == ["1", "2", "True", "a", "-1", "3"]

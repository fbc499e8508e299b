"""Examples to look at: what two models say of each, what an attack wrote, which neighbours changed."""

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pandas as pd

from robust_lib import metrics
from robust_lib.report import live

SHOWN = 3  # examples on a page; the others are folded, or a step away
GONE = "background: rgba(213, 94, 0, .28); text-decoration: line-through;"
NEW = "background: rgba(2, 158, 115, .32); font-weight: 600; text-decoration: none;"


@dataclass(frozen=True)
class Example:
    """One example: a line that tells what became of it, what it can be filtered by, and its texts.

    A text is (name, before, after): words that went are struck out, new ones highlighted. One that is the same before
    and after is shown once.
    """

    head: str
    facets: Mapping[str, str]
    texts: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, repr=False)
class Examples:
    """Examples of one kind to step through, filtered by their facets; `a + b` shows those of both.

    HTML in JupyterLab, on a light or a dark page, in which the first few stand open and the others in a fold where
    scripts do not run; as text [-gone-] and {+new+}, as wdiff writes them, and the first few alone.
    """

    examples: Sequence[Example] = ()

    def __add__(self, other: "Examples") -> "Examples":
        return Examples((*self.examples, *other.examples))

    def __repr__(self) -> str:
        shown = ["\n".join([one.head, *_texts(one)]) for one in self.examples[:SHOWN]]
        more = len(self.examples) - len(shown)
        return "\n\n".join([*shown, *([f"... and {more} more"] if more > 0 else [])]) or "no examples"

    def _repr_html_(self) -> str:
        blocks = list(map(_block, self.examples))
        first, more = "".join(blocks[:SHOWN]) or "no examples", "".join(blocks[SHOWN:])
        fold = f"<details><summary>{len(blocks) - SHOWN} more</summary>{more}</details>" if more else ""
        kind = f"class='examples {live.PLAIN}' data-shown='{SHOWN}'" if more else f"class='{live.PLAIN}'"
        page = f"<div {kind} style='max-width: 60em; white-space: normal'>{first}{fold}</div>"
        return live.live(page) if more else page


def attack_diffs(attacks: pd.DataFrame) -> Examples:
    """Attacks as diffs in the order of the rows, filtered by victim.

    Columns: id, original, attacked (texts), before, after (label names the victim gives), queries; and where there are:
    victim, and `context`, the text that was not attacked (the premise). Raises ValueError for a missing column.
    """
    missing = [
        name for name in ("id", "original", "attacked", "before", "after", "queries") if name not in attacks
    ]
    if missing:
        raise ValueError(
            f"attacks lack the column {missing[0]!r}; there are {', '.join(map(str, attacks.columns))}"
        )
    return Examples(tuple(map(_attacked, attacks.to_dict("records"))))


def flips(
    before: Mapping[str, pd.DataFrame],
    after: Mapping[str, pd.DataFrame],
    texts: pd.DataFrame,
    *,
    facets: Mapping[str, str] | None = None,
    merge: metrics.Merge = "argmax",
    most: int = 10,
) -> Examples:
    """The examples of which a second model says another label than a first, those that moved furthest first.

    `before` and `after` are each one model's name and its predictions, frames as in `metrics`; `texts` are indexed by
    id. Lost: right, then wrong; won: wrong, then right; swapped: one wrong label, then another. At most `most` of all
    are taken, by how far the gold label's probability moved. `facets` are further names to filter by.
    """
    (first, one), (second, two) = (*before.items(), *after.items())
    was, now = _said(one, merge), _said(two, merge)
    gold = one.set_index("id")["gold"]
    moved = (now["chance"] - was["chance"]).abs()[was["label"] != now["label"]]
    found = []
    for id_ in moved.sort_values(ascending=False, kind="stable").index[:most]:
        old, new, right = was.loc[id_], now.loc[id_], gold[id_]
        kind = "lost" if old["label"] == right else "won" if new["label"] == right else "swapped"
        lines = [(str(name), str(text)) for name, text in texts.loc[id_].items()]
        for name, said in ((first, old), (second, new)):
            mark = "✓" if said["label"] == right else "✗"
            lines.append((name, f"{mark} {said['label']} ({said['sure']:.2f})"))
        chances = f"its probability {old['chance']:.2f} → {new['chance']:.2f}"
        head = " · ".join([f"id {id_}", kind, f"gold: {right}, {chances}", *(facets or {}).values()])
        known = {**(facets or {}), "model": second, "what": kind, "gold": str(right)}
        found.append(Example(head, known, [(name, text, text) for name, text in lines]))
    return Examples(tuple(found))


def _said(predictions: pd.DataFrame, merge: metrics.Merge) -> pd.DataFrame:
    """By id: the label a model says, how sure it is of it, and the chance it gives the gold label."""
    chance = np.exp(-metrics.losses(predictions))
    sure, label = metrics.confidence(predictions, merge), metrics.predicted(predictions, merge)
    return pd.DataFrame({"label": label, "sure": sure, "chance": chance})


def neighbour_changes(
    before: Mapping[str, np.ndarray[Any, Any]],
    after: Mapping[str, np.ndarray[Any, Any]],
    texts: Sequence[str],
    *,
    most: int = 10,
) -> Examples:
    """Points with the neighbours that both models give them, and that either has alone, struck out and highlighted.

    `before` and `after` are each one model's name and an array (points, k) of its neighbours' numbers in `texts`,
    nearest first. `most` points, from the least to the best agreed in even steps.
    """
    (first, one), (second, two) = (*before.items(), *after.items())
    shared = np.array([len(set(a) & set(b)) for a, b in zip(one.tolist(), two.tolist(), strict=True)])
    order = np.argsort(shared, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
    found = []
    for point in chosen.tolist():
        mine, other = one[point].tolist(), two[point].tolist()
        lines = [("", texts[point], texts[point])]
        lines += [(f"both, {a + 1}", texts[n], texts[n]) for a, n in enumerate(mine) if n in other]
        lines += [(f"{first}, {a + 1}", texts[n], "") for a, n in enumerate(mine) if n not in other]
        lines += [(f"{second}, {a + 1}", "", texts[n]) for a, n in enumerate(other) if n not in mine]
        head = f"point {point} · {first} → {second} · {shared[point]} of {len(mine)} neighbours shared"
        facets = {"models": f"{first} → {second}", "shared": str(shared[point])}
        found.append(Example(head, facets, lines))
    return Examples(tuple(found))


def _attacked(attack: Mapping[Any, Any]) -> Example:
    """id 7 · Q8-PTQ · entailment → neutral · 43 queries"""
    parts = [f"id {attack['id']}", *([str(attack["victim"])] if "victim" in attack else [])]
    same = attack["before"] == attack["after"]
    labels = f"{attack['before']}, unchanged" if same else f"{attack['before']} → {attack['after']}"
    count = attack["queries"]
    head = " · ".join([*parts, labels, f"{count:g} {'query' if count == 1 else 'queries'}"])
    context = [("", str(attack["context"]), str(attack["context"]))] if "context" in attack else []
    facets = {"victim": str(attack.get("victim", "")), "label": str(attack["before"])}
    return Example(head, facets, [*context, ("", str(attack["original"]), str(attack["attacked"]))])


def _texts(example: Example) -> list[str]:
    named = ((name, _marked(before, after)) for name, before, after in example.texts)
    return [
        f"{name}: {text}" if name else text
        for name, words in named
        for text in [" ".join({"": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}[k].format(w) for k, w in words)]
    ]


def _block(example: Example) -> str:
    forms = {"": "{}", "gone": f"<del style='{GONE}'>{{}}</del>", "new": f"<ins style='{NEW}'>{{}}</ins>"}
    lines = [f"<small style='opacity: .75'>{html.escape(example.head)}</small>"]
    for name, before, after in example.texts:
        words = [forms[kind].format(_escaped(text)) for kind, text in _marked(before, after)]
        lines.append((f"<small>{html.escape(name)}:</small> " if name else "") + " ".join(words))
    facets = html.escape(json.dumps(dict(example.facets), ensure_ascii=False))
    style = "margin: .7em 0; line-height: 1.5"
    return f"<div class='example' data-facets='{facets}' style='{style}'>{'<br> '.join(lines)}</div>"


def _escaped(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _marked(before: str, after: str) -> list[tuple[str, str]]:
    """Runs of words, each "gone", "new" or unchanged ("")."""
    return [("", before)] if before == after else list(_changes(before.split(), after.split()))


def _changes(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(before) == len(after):  # words were replaced, and none came or went
        for old, word in zip(before, after, strict=True):
            yield from [("", old)] if old == word else [("gone", old), ("new", word)]
        return
    matcher = SequenceMatcher(a=before, b=after, autojunk=False)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "equal":
            yield "", " ".join(before[start:end])
        elif kind == "replace" and end - start == other_end - other_start:
            for old, word in zip(before[start:end], after[other_start:other_end], strict=True):
                yield "gone", old
                yield "new", word
        else:
            runs = (("gone", before[start:end]), ("new", after[other_start:other_end]))
            yield from ((form, " ".join(run)) for form, run in runs if run)

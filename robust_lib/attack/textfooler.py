"""TextFooler (Jin et al. 2020) in three readings: the authors' released program, TextAttack's recipe, the paper.

All three rank the words of a text by how much the victim needs them, then replace one after another by a synonym
until the prediction changes. They differ in the points that are the fields of `Mode`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robust_lib.attack import greedy
from robust_lib.attack.engine import Ask, Attack, Outcome, Rows, Text
from robust_lib.attack.greedy import Floats, Page, Sentence, put
from robust_lib.attack.lexica import Words

Scale = Literal["cosine", "1 - arccos(cosine)", "1 - arccos(cosine) / pi"]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """Every point in which the three readings differ; a value reads as the table shows it.

    Common to all: 266 stop words compared as written, up to 50 synonyms, a word is replaced at most once, and of equals
    the first wins. Without a sentence encoder every similarity is 1: that check passes always, and the first of
    several successful candidates is taken.
    """

    words: Literal["split at spaces", "TextAttack's, of all columns"] = field(metadata={"point": "words"})
    lookup: Literal["as written", "in lower case, case restored"] = field(
        metadata={"point": "look-up of a word's synonyms"}
    )
    probe: Literal["<oov> in its place", "deleted"] = field(
        metadata={"point": "importance of a word: the text with it"}
    )
    probed: Literal["every word", "words that may be replaced"] = field(
        metadata={"point": "importance is asked for"}
    )
    importance: Literal["lost probability, and gained by a new label", "lost probability"] = field(
        metadata={"point": "importance is"}
    )
    cosine: float = field(metadata={"point": "least cosine of a synonym"})
    order: Literal["nearest first", "by the whole text's alphabet"] = field(
        metadata={"point": "candidates in order"}
    )
    checked: Literal["after the query", "before the query"] = field(
        metadata={"point": "part of speech and similarity checked"}
    )
    part: Literal["released", "TextAttack's", "whole text"] = field(
        metadata={"point": "part of speech is told from"}
    )
    nouns_for_verbs: bool = field(metadata={"point": "noun for verb allowed"})
    scale: Scale = field(metadata={"point": "similarity is"})
    similarity: float = field(metadata={"point": "least similarity"})
    strict: bool = field(metadata={"point": "similarity must be above, not at, the least"})
    window: int | None = field(metadata={"point": "similarity of so many words around (None: all)"})
    short: Literal["least similarity 0.1", "not checked", "checked"] = field(
        metadata={"point": "similarity of texts shorter than the window"}
    )
    closest_to: Literal["the text before", "the original"] = field(
        metadata={"point": "of successful candidates the one most similar to"}
    )
    success: Literal["any candidate", "the candidate of lowest probability"] = field(
        metadata={"point": "ends the attack if it changes the label"}
    )
    beats: Literal["the original", "the text before"] = field(
        metadata={"point": "else the lowest probability is kept if below that of"}
    )


MODES: dict[str, Mode] = {
    # attack_nli.py and attack_classification.py of github.com/jind11/TextFooler. The released default for the least
    # similarity is 0.7; the authors say that 0.5 gave the paper's numbers (issues 12 and 43). Their importance
    # threshold of -1 removes no word. The last prediction, which they make and do not count, was asked for before.
    "authors": Mode(
        words="split at spaces",
        lookup="as written",
        probe="<oov> in its place",
        probed="every word",
        importance="lost probability, and gained by a new label",
        cosine=0.5,
        order="nearest first",
        checked="after the query",
        part="released",
        nouns_for_verbs=True,
        scale="1 - arccos(cosine)",
        similarity=0.5,
        strict=False,
        window=15,
        short="least similarity 0.1",
        closest_to="the text before",
        success="any candidate",
        beats="the original",
    ),
    # textfooler_jin_2019 of TextAttack 0.3.11
    "textattack": Mode(
        words="TextAttack's, of all columns",
        lookup="in lower case, case restored",
        probe="deleted",
        probed="words that may be replaced",
        importance="lost probability",
        cosine=0.5,
        order="by the whole text's alphabet",
        checked="before the query",
        part="TextAttack's",
        nouns_for_verbs=True,
        scale="1 - arccos(cosine) / pi",
        similarity=0.840845057,
        strict=False,
        window=15,
        short="not checked",
        closest_to="the text before",
        success="the candidate of lowest probability",
        beats="the text before",
    ),
    # Algorithm 1 and section 3 of the paper, from memory: that similarity is a cosine over the whole text and its
    # bound (epsilon) 0.5, strictly; that parts of speech must be equal, nouns for verbs not among them; that the last
    # choice is by similarity to the original X while the check is against the current text.
    "paper": Mode(
        words="split at spaces",
        lookup="as written",
        probe="deleted",
        probed="every word",
        importance="lost probability, and gained by a new label",
        cosine=0.7,
        order="nearest first",
        checked="before the query",
        part="whole text",
        nouns_for_verbs=False,
        scale="cosine",
        similarity=0.5,
        strict=True,
        window=None,
        short="checked",
        closest_to="the original",
        success="any candidate",
        beats="the text before",
    ),
}
_PARTS = {
    "None": "all",
    "released": "the word, 4 before and 4 after in the text as it stands; the whole text up to 10 words",
    "TextAttack's": "the word, 4 before and 3 after in the original; its first occurrence among them",
    "whole text": "the whole text as it stands",
}


def modes_table() -> pd.DataFrame:
    """The points in which the modes differ: a row each, a column for each mode, in words."""
    points = greedy.points(MODES, _PARTS)
    sent = {"after the query": "all candidates", "before the query": "candidates that pass the checks"}
    points["queries"] = [
        f"1 for the text, 1 for each of {mode.probed}, {sent[mode.checked]}" for mode in MODES.values()
    ]
    return pd.DataFrame.from_dict(points, orient="index", columns=list(MODES)).rename_axis("point")


def textfooler(text: Text, gold: int, *, column: int, words: Words, mode: Mode) -> Attack:
    """One example under attack, for `engine.run`: it asks "victim" and, where `words` has an encoder, "sentences".

    text: the text columns; only `column` is changed (of a premise and a hypothesis the hypothesis, 1). gold: the index
    of the right class in the victim's rows. Queries are all texts sent to the victim, the original among them, asked
    for twice or not; an example that the victim has wrong is skipped with none. Text in a script without spaces is
    not cut into words.
    """
    page = greedy.read(text, column, whole=mode.words != "split at spaces")
    original = (yield Ask("victim", [page.write(page.words)]))[0]
    if original.argmax() != gold:
        return Outcome("skipped", page.write(page.words), changed=0, queries=0)
    ranking, asked = yield from _ranked(page, original, gold, words, mode)
    sentence, lowest, queries = page.words, float(original[gold]), 1 + asked
    status: Literal["success", "failed"] = "failed"
    for index in ranking:
        tried, near, faults = yield from _checked(page, sentence, index, words, mode)
        if not tried:
            continue
        rows = yield Ask("victim", [page.write(one) for one in tried])
        queries += len(tried)
        if mode.closest_to == "the original":
            near = yield from _similarities(page, page.words, tried, index, words, mode)
        best, done = _choice(rows, gold, near, faults, lowest, mode)
        if best is None:
            continue
        sentence = tried[best]
        if done:
            status = "success"
            break
        if mode.beats == "the text before":
            lowest = float(rows[best, gold])
    changed = sum(new != old for new, old in zip(sentence, page.words, strict=True))
    return Outcome(status, page.write(sentence), changed=changed, queries=queries)


def window(index: int, length: int, size: int | None) -> slice:
    """The words that stand for a text in its similarity: `size` around `index`, moved inwards at the ends.

    As released: in a text shorter than `size` and for a word with half a window before it but not after it, the
    first end is `length - size`, negative, which Python counts from the end; such a window may leave the word out.
    """
    if size is None:
        return slice(0, length)
    half = (size - 1) // 2
    before, after = index >= half, length - index - 1 >= half
    if before and after:
        return slice(index - half, index + half + 1)
    if after:
        return slice(0, size)
    return slice(length - size, length) if before else slice(0, length)


def _ranked(
    page: Page, original: Floats, gold: int, words: Words, mode: Mode
) -> Generator[Ask, Rows, tuple[list[int], int]]:
    """The places to attack, the most important first, and how many texts were asked for."""
    open_ = [index for index in page.own if page.words[index] not in words.stop_words]
    asked = list(page.own) if mode.probed == "every word" else open_
    if not asked:
        return [], 0
    oov = mode.probe == "<oov> in its place"
    rows = yield Ask(
        "victim",
        [page.write(put("<oov>", page.words, index)) if oov else page.without(index) for index in asked],
    )
    scores = greedy.importance(rows, original, gold, gained=mode.importance != "lost probability")
    places = [asked[place] for place in np.argsort(-scores, kind="stable")]
    return [index for index in places if index in open_], len(asked)


def _checked(
    page: Page, sentence: Sentence, index: int, words: Words, mode: Mode
) -> Generator[Ask, Rows, tuple[list[Sentence], Floats, Floats]]:
    """The candidates to query at a place, how similar each is, and how many checks it fails: a fault is a 1."""
    tried, before = _candidates(page, sentence, index, words, mode), mode.checked == "before the query"
    wrong = _other_part(page, tried, index, words, mode)
    if before:
        tried, wrong = list(compress(tried, ~wrong)), wrong[~wrong]
    near = yield from _similarities(page, sentence, tried, index, words, mode)
    faults = wrong.astype(np.float64) + ~_similar(near, len(page.words), words, mode)
    if before:
        passed = faults == 0
        tried, near, faults = list(compress(tried, passed)), near[passed], faults[passed]
    return tried, near, faults


def _candidates(page: Page, sentence: Sentence, index: int, words: Words, mode: Mode) -> list[Sentence]:
    """The current text with each synonym in the word's place."""
    word = sentence[index]
    restored = mode.lookup == "in lower case, case restored"
    found = words.neighbours(word.lower() if restored else word, cosine=mode.cosine)
    if restored:
        found = tuple(_cased(one, word) for one in found)
    tried = [put(one, sentence, index) for one in found if one != word]
    if mode.order == "by the whole text's alphabet":
        tried.sort(key=lambda one: page.written(one, page.gaps))
    return tried


def _cased(word: str, pattern: str) -> str:
    """The word in lower case, in capitals or capitalised as the pattern is; as it stands for any other pattern."""
    if pattern.islower():
        return word.lower()
    if pattern.isupper() and len(pattern) > 1:
        return word.upper()
    return word.capitalize() if pattern[0].isupper() and pattern[1:].islower() else word


def _other_part(
    page: Page, tried: Sequence[Sentence], index: int, words: Words, mode: Mode
) -> NDArray[np.bool_]:
    """Whether each candidate is another part of speech than the original word."""

    def part(sentence: Sentence, *, original: bool = False) -> str:
        if mode.part == "TextAttack's":
            word = sentence[index]
            context = (*page.words[max(index - 4, 0) : index], word, *page.words[index + 1 : index + 4])
            return words.tags(context)[context.index(word)]
        if mode.part == "released" and len(sentence) > 10 and not original:
            return words.tags(sentence[max(index - 4, 0) : index + 5])[min(4, index)]
        return words.tags(sentence)[index]

    old = part(page.words, original=True)
    swapped = {"NOUN", "VERB"} if mode.nouns_for_verbs else set()
    return np.array([not (new == old or {new, old} <= swapped) for new in map(part, tried)], dtype=bool)


def scaled(cosine: Floats, scale: Scale) -> Floats:
    """Cosines on a mode's scale of similarity, all of which give 1 for 1; rounding beyond [-1, 1] is cut off."""
    clipped = np.clip(cosine, -1.0, 1.0)
    if scale == "cosine":
        return clipped
    return 1 - np.arccos(clipped) / (np.pi if scale.endswith("pi") else 1)


def _similarities(
    page: Page, base: Sentence, tried: Sequence[Sentence], index: int, words: Words, mode: Mode
) -> Generator[Ask, Rows, Floats]:
    """How similar each candidate is to `base`, on the mode's scale; 1 where it is not looked at."""
    unseen = mode.short == "not checked" and len(page.words) < (mode.window or 0)
    if words.sentences is None or unseen or not tried:
        return np.ones(len(tried))
    places = window(index, len(page.words), mode.window)
    rows = yield Ask("sentences", [(page.within(one, places),) for one in (base, *tried)])
    return scaled((rows[1:] * rows[0]).sum(axis=1), mode.scale)


def _similar(near: Floats, length: int, words: Words, mode: Mode) -> NDArray[np.bool_]:
    """Which similarities are enough; a threshold of `words` is a cosine."""
    least = (
        mode.similarity if words.threshold is None else float(scaled(np.array(words.threshold), mode.scale))
    )
    if mode.short == "least similarity 0.1" and length < (mode.window or 0):
        least = 0.1
    return near > least if mode.strict else near >= least


def _choice(
    rows: Rows, gold: int, near: Floats, faults: Floats, lowest: float, mode: Mode
) -> tuple[int | None, bool]:
    """The candidate that is kept, if any, and whether it ends the attack."""
    if mode.success == "any candidate":
        hits = (rows.argmax(axis=1) != gold) & (faults == 0)
        if hits.any():
            return int(np.where(hits, near, -np.inf).argmax()), True
        left = rows[:, gold] + faults  # a candidate with a fault is never below a probability
        best = int(left.argmin())
        return (best if left[best] < lowest else None), False
    return greedy.lowest(rows, gold, near, lowest)

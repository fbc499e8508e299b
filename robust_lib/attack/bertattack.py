"""BERT-Attack (Li et al. 2020) in three readings: the authors' released program, TextAttack's recipe, and exactly.

A masked language model proposes what might stand in a word's place; the words are tried in the order of how much the
victim needs them. The readings differ in the points that are the fields of `Mode`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Literal

import numpy as np
import pandas as pd

from robust_lib.attack import greedy
from robust_lib.attack.engine import Ask, Attack, Outcome, Rows, Text
from robust_lib.attack.greedy import Floats, Page, Sentence, put
from robust_lib.attack.language import LANGUAGE, PIECES, Best, Language, k_best
from robust_lib.attack.lexica import Words

UNKNOWN = "[UNK]"


@dataclass(frozen=True, kw_only=True)
class Mode:
    """Every point in which the three readings differ; a value reads as the table shows it.

    Common to all: a word's importance is asked for with [UNK] in its place, nothing is masked for the language model, a
    word of one piece has its k best pieces as candidates, a word is replaced at most once, and of equals the first
    wins. Places that were cut off at the maximum length are left alone, but see `cut`.
    """

    words: Literal["split at spaces, in lower case", "TextAttack's, of all columns"] = field(
        metadata={"point": "words"}
    )
    probed: Literal["every word but the last", "every word", "words that may be replaced"] = field(
        metadata={"point": "importance is asked for"}
    )
    importance: Literal["lost probability, and gained by a new label", "lost probability"] = field(
        metadata={"point": "importance is"}
    )
    read: Literal["the original, once", "the text as it stands, for each word"] = field(
        metadata={"point": "the language model reads"}
    )
    cut: Literal["left alone", "the first is read at [SEP]", "the first after another is read at [SEP]"] = (
        field(metadata={"point": "pieces of a word that were cut off"})
    )
    combinations: Literal["released", "the first k words of all", "the k best by probability"] = field(
        metadata={"point": "candidates for a word of several pieces"}
    )
    joined: Literal["as the tokenizer joins them", "without spaces"] = field(
        metadata={"point": "pieces of a candidate are joined"}
    )
    threshold: float = field(metadata={"point": "least logit of a candidate of one piece (0: none)"})
    stop_words: Literal["the authors' 266", "NLTK's 179"] = field(metadata={"point": "stop words"})
    refused: Literal["with ## or stop words", "of one piece with ##, and all that are not one word"] = field(
        metadata={"point": "candidates refused"}
    )
    cosine: float | None = field(
        metadata={"point": "least cosine of a candidate, where both words are known"}
    )
    similarity: float | None = field(metadata={"point": "least cosine of the text with the original"})
    order: Literal["the language model's", "by the whole text's alphabet"] = field(
        metadata={"point": "candidates in order"}
    )
    limit: Literal["up to 40 %, rounded down, and one more", "up to 40 %, rounded up"] = field(
        metadata={"point": "words changed"}
    )
    success: Literal["the first candidate", "the candidate of lowest probability"] = field(
        metadata={"point": "ends the attack if it changes the label"}
    )
    aliasing: bool = field(
        metadata={
            "point": "the last candidate stays where none lowers the probability, as a change uncounted"
        }
    )


MODES: dict[str, Mode] = {
    # bertattack.py of github.com/LinyangLee/BERT-Attack as its readme calls it: use_bpe 1, threshold_pred_score 0, and
    # use_sim_mat 1 for sentiment alone. Their trial text and their running text are one list: hence the aliasing.
    "authors": Mode(
        words="split at spaces, in lower case",
        probed="every word but the last",
        importance="lost probability, and gained by a new label",
        read="the original, once",
        cut="the first is read at [SEP]",
        combinations="released",
        joined="as the tokenizer joins them",
        threshold=0.0,
        stop_words="the authors' 266",
        refused="with ## or stop words",
        cosine=0.4,
        similarity=None,
        order="the language model's",
        limit="up to 40 %, rounded down, and one more",
        success="the first candidate",
        aliasing=True,
    ),
    # bert_attack_li_2020 of TextAttack 0.3.11. It sorts the combinations by perplexity and discards the result.
    "textattack": Mode(
        words="TextAttack's, of all columns",
        probed="words that may be replaced",
        importance="lost probability",
        read="the text as it stands, for each word",
        cut="the first after another is read at [SEP]",
        combinations="the first k words of all",
        joined="without spaces",
        threshold=0.0,
        stop_words="NLTK's 179",
        refused="of one piece with ##, and all that are not one word",
        cosine=None,
        similarity=0.2,
        order="by the whole text's alphabet",
        limit="up to 40 %, rounded up",
        success="the candidate of lowest probability",
        aliasing=False,
    ),
    # What the authors' program says it does, without its slips and its limits on combinations
    "exact": Mode(
        words="split at spaces, in lower case",
        probed="every word",
        importance="lost probability, and gained by a new label",
        read="the original, once",
        cut="left alone",
        combinations="the k best by probability",
        joined="as the tokenizer joins them",
        threshold=0.0,
        stop_words="the authors' 266",
        refused="with ## or stop words",
        cosine=0.4,
        similarity=None,
        order="the language model's",
        limit="up to 40 %, rounded down, and one more",
        success="the first candidate",
        aliasing=False,
    ),
}
PLACES, CHOICES, COMBINATIONS = 12, 4, 24  # of the released program
_PARTS = {
    "None": "not asked for",
    "released": f"the first {COMBINATIONS} of all of the {CHOICES} best of the first {PLACES} pieces, "
    "by pseudo-perplexity",
}


def modes_table() -> pd.DataFrame:
    """The points in which the modes differ: a row each, a column for each mode, in words."""
    points = greedy.points(MODES, _PARTS)
    sent = {
        "the first candidate": "1 for each candidate up to the first that changes the label",
        "the candidate of lowest probability": "1 for each candidate that passes the checks",
    }
    points["queries"] = [
        f"1 for the text, 1 for each of {mode.probed}, {sent[mode.success]}" for mode in MODES.values()
    ]
    return pd.DataFrame.from_dict(points, orient="index", columns=list(MODES)).rename_axis("point")


def bertattack(
    text: Text,
    gold: int,
    *,
    column: int,
    words: Words,
    language: Language,
    mode: Mode,
    k: int,
    most: int | None = None,
) -> Attack:
    """One example under attack, for `engine.run`: it asks "victim", the two oracles of `language` and, for a mode with
    a least similarity where `words` has an encoder, "sentences".

    text, gold and column as in `textfooler`. k: candidates for each piece of a word, at most `language.k`, and for the
    word. most: so many of the words that may be replaced are tried, the most important ones; None: all. "K = 3" of
    paper 2 may mean either. Queries are what the recipe counts; where a candidate ends the attack, those behind it were
    scored and are not counted. ValueError for a k that the language model does not give.
    """
    if not 1 <= k <= language.k:
        raise ValueError(f"bertattack: k {k}; the language model gives 1 to {language.k} pieces")
    original = (yield Ask("victim", [text]))[0]
    if original.argmax() != gold:
        return Outcome("skipped", text, changed=0, queries=0)
    page = _page(text, column, mode)
    ranking, queries = yield from _ranked(page, original, gold, words, mode)
    sentence, lowest, changes, best = page.words, float(original[gold]), 0, None
    status: Literal["success", "failed"] = "failed"
    for index in ranking[:most]:
        if changes >= _limit(len(page.words), mode):
            break
        if best is None or mode.read != "the original, once":
            best = language.best((yield Ask(LANGUAGE, [(page.written(sentence, page.gaps),)]))[0])
        tried, near = yield from _tried(page, sentence, index, best, words, language, mode, k)
        if not tried:
            continue
        rows = yield Ask("victim", [page.write(one) for one in tried])
        chosen, done, sent = _choice(rows, gold, near, lowest, mode)
        queries += sent
        if chosen is not None:
            sentence, lowest, changes = tried[chosen], float(rows[chosen, gold]), changes + 1
        elif mode.aliasing:
            sentence = tried[-1]
        if done:
            status = "success"
            break
    changed = sum(new != old for new, old in zip(sentence, page.words, strict=True))
    return Outcome(status, page.write(sentence), changed=changed, queries=1 + queries)


def _page(text: Text, column: int, mode: Mode) -> Page:
    if mode.words == "TextAttack's, of all columns":
        return greedy.read(text, column, whole=True)
    return greedy.read((*text[:column], text[column].lower(), *text[column + 1 :]), column, whole=False)


def _limit(length: int, mode: Mode) -> int:
    """How many words may be changed."""
    share = 0.4 * length
    return math.ceil(share) if mode.limit == "up to 40 %, rounded up" else int(share) + 1


def _ranked(
    page: Page, original: Floats, gold: int, words: Words, mode: Mode
) -> Generator[Ask, Rows, tuple[list[int], int]]:
    """The places to attack, the most important first, and how many texts were asked for."""
    stop_words = _stop_words(words, mode)
    open_ = [index for index in page.own if page.words[index] not in stop_words]
    asked = open_ if mode.probed == "words that may be replaced" else list(page.own)
    if mode.probed == "every word but the last":
        asked = asked[:-1]
    if not asked:
        return [], 0
    rows = yield Ask("victim", [page.write(put(UNKNOWN, page.words, index)) for index in asked])
    scores = greedy.importance(rows, original, gold, gained=mode.importance != "lost probability")
    places = [asked[place] for place in np.argsort(-scores, kind="stable")]
    return [index for index in places if index in open_], len(asked)


def _stop_words(words: Words, mode: Mode) -> frozenset[str]:
    return words.stop_words if mode.stop_words == "the authors' 266" else words.nltk_stop_words


def _tried(
    page: Page,
    sentence: Sentence,
    index: int,
    best: Best,
    words: Words,
    language: Language,
    mode: Mode,
    k: int,
) -> Generator[Ask, Rows, tuple[list[Sentence], Floats]]:
    """The texts to query for a place, and how similar each is to the original; 1 where it is not looked at."""
    places = _places(page, sentence, index, best, language, mode)
    found = yield from _candidates(best.at(places, k), language, mode)
    word = sentence[index]
    tried = [put(one, sentence, index) for one in found if _passes(word, one, words, mode)]
    if mode.order == "by the whole text's alphabet":
        tried.sort(key=lambda one: page.written(one, page.gaps))
    if mode.similarity is None or words.sentences is None or not tried:
        return tried, np.ones(len(tried))
    least = mode.similarity if words.threshold is None else words.threshold
    rows = yield Ask("sentences", [(page.written(one, page.gaps),) for one in (page.words, *tried)])
    near = (rows[1:] * rows[0]).sum(axis=1)
    return [one for one, value in zip(tried, near, strict=True) if value >= least], near[near >= least]


def _places(page: Page, sentence: Sentence, index: int, best: Best, language: Language, mode: Mode) -> slice:
    """Which rows of the language model are the word's; the last row is that of [SEP]."""
    base = page.words if mode.read == "the original, once" else sentence
    before = "".join(gap + word for gap, word in zip(page.gaps, base[:index], strict=False))
    start = len(language.pieces(before + page.gaps[index]))
    stop, separator = start + len(language.pieces(base[index])), len(best.ids) - 1
    whole = stop <= separator
    kept = whole or (start <= separator if mode.cut == "the first is read at [SEP]" else start < separator)
    return slice(start, stop) if kept and (whole or mode.cut != "left alone") else slice(0)


def _candidates(best: Best, language: Language, mode: Mode) -> Generator[Ask, Rows, list[str]]:
    """What the language model proposes for a word of these pieces, the most likely first; few of it may be words."""
    count, k = best.ids.shape
    if count == 0:
        return []
    if count == 1:
        above = best.ids[0][best.logits[0] >= mode.threshold] if mode.threshold else best.ids[0]
        return list(language.tokens(above.tolist()))
    if mode.combinations == "the first k words of all":
        found = (_joined(one, mode) for one in _pieces(best, product(range(k), repeat=count), language))
        return list(islice((word for word in found if _one_word(word)), k))
    if mode.combinations == "the k best by probability":
        return [_joined(one, mode) for one in _pieces(best, iter(k_best(best.log_probs, k)), language)]
    ranks = islice(product(range(min(k, CHOICES)), repeat=min(count, PLACES)), COMBINATIONS)
    pieces = list(_pieces(best, ranks, language))
    perplexity = (yield Ask(PIECES, pieces))[:, 0]
    return [_joined(pieces[place], mode) for place in np.argsort(perplexity, kind="stable")]


def _pieces(best: Best, ranks: Iterator[tuple[int, ...]], language: Language) -> Iterator[tuple[str, ...]]:
    """The pieces that stand at these ranks."""
    ids = best.ids.tolist()
    return (language.tokens([row[rank] for row, rank in zip(ids, one, strict=False)]) for one in ranks)


def _joined(pieces: Sequence[str], mode: Mode) -> str:
    """Without spaces, or a piece that does not begin with ## as a word of its own: "play the"."""
    if mode.joined == "without spaces":
        return "".join(pieces).replace("##", "")
    return " ".join(pieces).replace(" ##", "").strip()


def _one_word(candidate: str) -> bool:
    return len(greedy.textattack_words(candidate)) == 1


def _passes(word: str, candidate: str, words: Words, mode: Mode) -> bool:
    """Whether the candidate may stand in the word's place."""
    if candidate == word or "##" in candidate:
        return False
    if mode.refused != "with ## or stop words":
        return _one_word(candidate)
    if candidate in _stop_words(words, mode):
        return False
    cosine = None if mode.cosine is None else words.alike(word, candidate)
    return cosine is None or mode.cosine is None or cosine >= mode.cosine


def _choice(rows: Rows, gold: int, near: Floats, lowest: float, mode: Mode) -> tuple[int | None, bool, int]:
    """The candidate that is kept, if any, whether it ends the attack, and how many the recipe has sent by then."""
    if mode.success == "the candidate of lowest probability":
        return *greedy.lowest(rows, gold, near, lowest), len(rows)
    flipped = rows.argmax(axis=1) != gold
    if flipped.any():
        first = int(flipped.argmax())
        return first, True, first + 1
    best = int(rows[:, gold].argmin())
    return (best if rows[best, gold] < lowest else None), False, len(rows)

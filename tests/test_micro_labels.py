"""The micro world's labels, recomputed from the surface sentences alone.

A second reading of the grammar, written from its definition: it shares the word lists with the generator and none of
its code. One noun means one individual, a person has one place per relation, "perhaps" and "if" leave things open.
"""

import re
from typing import NamedTuple

import pytest

from robust_lib import micro
from robust_lib.micro import words

TRANSITIVE = {word for pair in words.TRANSITIVE for word in pair}
INTRANSITIVE = {word for pair in words.INTRANSITIVE for word in pair}
VERBS = TRANSITIVE | INTRANSITIVE
SENSE = {word: pair[0] for pair in (*words.TRANSITIVE, *words.INTRANSITIVE) for word in pair}
CLASS = {noun: name for name, nouns in words.NOUNS.items() for noun in nouns}
COUNTRY = {city: country for country, cities in words.CITIES.items() for city in cities}
RELATION = {word: forms[0] for forms in words.RELATIONS for word in forms}


class Meaning(NamedTuple):
    """What a sentence asserts (True) or denies (False), and what it leaves open, as (sense, agent, patient)."""

    facts: dict[tuple[str, str, str], bool]
    open: set[tuple[str, str, str]]


class Reader:
    """A recursive reader of premises and hypotheses."""

    def __init__(self, sentence: str) -> None:
        self.tokens = sentence.removesuffix(".").replace(",", " ,").split()
        self.facts: dict[tuple[str, str, str], bool] = {}

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self, *allowed: str) -> str:
        token = self.tokens.pop(0)
        assert not allowed or token in allowed, (token, allowed)
        return token

    def add(self, verb: str, agent: str, patient: str = "", sign: bool = True) -> None:
        assert (verb in TRANSITIVE or verb in ("remembered", "forgot")) == bool(patient), verb
        self.facts[SENSE.get(verb, verb), agent, patient] = sign

    def noun_phrase(self) -> str:
        self.take("the")
        word = self.take()
        return self.take() if word in words.ADJECTIVES else word

    def subject(self) -> list[str]:
        heads = [self.noun_phrase()]
        if self.peek() in words.PREPOSITIONS:
            self.take()
            self.noun_phrase()
        elif self.peek() == "who":
            self.take()
            if self.peek() == "the":
                other = self.noun_phrase()
                self.add(self.take(), other, heads[0])
            else:
                verb = self.take()
                self.add(verb, heads[0], self.noun_phrase())
        elif self.peek() in VERBS and self.tokens[1:2] == ["by"]:
            verb = self.take()
            self.take("by")
            self.add(verb, self.noun_phrase(), heads[0])
        elif self.peek() == "and":
            self.take()
            heads.append(self.noun_phrase())
        return heads

    def clause(self) -> None:
        if self.peek() == "no":
            self.take()
            heads, sign = [self.take()], False
        else:
            heads, sign = self.subject(), True
        word = self.take()
        if word == "never":
            sign, word = False, self.take()
        if word == "was":
            sign = sign and self.peek() != "never"
            verb = self.take() if self.peek() != "never" else [self.take(), self.take()][1]
            self.take("by")
            self.add(verb, self.noun_phrase(), heads[0], sign)
        elif word in ("knew", "realized", "thought", "hoped"):
            self.take("that")
            before = dict(self.facts)
            self.clause()
            self.left_open = word in ("thought", "hoped")
            assert not before
        elif word in ("remembered", "forgot"):
            rest = list(self.tokens)
            other = self.noun_phrase()
            if not self.tokens:
                self.add(word, heads[0], other)
            else:
                self.tokens = rest
                self.clause()
        elif word in INTRANSITIVE:
            for head in heads:
                self.add(word, head, sign=sign)
        else:
            patient = self.noun_phrase()
            for head in heads:
                self.add(word, head, patient, sign)
            if self.peek() in words.PREPOSITIONS:
                self.take()
                self.noun_phrase()
            elif self.peek() == "who":
                self.take()
                self.add(self.take(), patient)

    left_open = False

    def sentence(self) -> Meaning:
        if self.peek() in ("perhaps", "maybe", "certainly", "clearly"):
            self.left_open = self.take() in ("perhaps", "maybe")
            self.clause()
        elif self.peek() in ("because", "after", "if", "unless"):
            self.left_open = self.take() in ("if", "unless")
            self.clause()
            self.take(",")
            self.clause()
        else:
            self.clause()
            if self.tokens:
                self.left_open = self.take("because", "after", "and", "if", "unless", "or") in (
                    "if",
                    "unless",
                    "or",
                )
                self.clause()
        assert not self.tokens, self.tokens
        return Meaning({}, set(self.facts)) if self.left_open else Meaning(self.facts, set())


def same(known: tuple[str, str, str], asked: tuple[str, str, str]) -> bool:
    """Nouns of a question may be class names."""
    nouns = zip(known[1:], asked[1:], strict=True)
    return known[0] == asked[0] and all(ask in (have, CLASS.get(have)) for have, ask in nouns)


def entailed(premise: str, hypothesis: str) -> str:
    meaning, asked = Reader(premise).sentence(), Reader(hypothesis).sentence()
    if asked.open:
        (fact,) = asked.open
        held = [sign for known, sign in meaning.facts.items() if same(known, fact)]
        return "entailment" if held == [True] or any(same(o, fact) for o in meaning.open) else "neutral"
    ((fact, sign),) = asked.facts.items()
    held = [own for known, own in meaning.facts.items() if same(known, fact)]
    if not held:
        return "neutral"
    return "entailment" if held[0] == sign else "contradiction"


@pytest.mark.parametrize("path", ["mnli/train", "mnli/validation_matched", "mnli/validation_mismatched"])
def test_inference_labels_follow_from_the_sentences(path: str) -> None:
    rows = micro.frame(path, 700, seed=1)
    wrong = [r for r in rows.to_dict("records") if entailed(r["premise"], r["hypothesis"]) != r["label"]]
    assert not wrong, wrong[:3]


def test_challenge_labels_follow_and_every_word_stands_in_the_premise() -> None:
    for row in micro.frame("hans/validation", 810, seed=2).to_dict("records"):
        found = entailed(row["premise"], row["hypothesis"]) == "entailment"
        assert (
            ("entailment" if found else "non-entailment")
            == row["label"]
            == ("entailment" if row["subcase"][1] == "e" else "non-entailment")
        ), row
        premise, hypothesis = (re.findall("[a-z]+", row[name]) for name in ("premise", "hypothesis"))
        assert set(hypothesis) <= set(premise)
        assert hypothesis != premise
        part = " ".join(hypothesis) in " ".join(premise)
        assert part or row["heuristic"] == "lexical_overlap", row


CLAIM = re.compile(
    r"(?P<name>\w+) was (?P<no>never |not )?(?:(?P<rel>\w+) in (?P<place>\w+)|an? (?P<trade>\w+))\."
)
EVIDENCE = re.compile(r"(?:the (?P<trade>\w+) )?(?P<name>\w+) was (?P<places>.*)\.")


def verified(claim: str, evidence: str) -> str:
    told, asked = EVIDENCE.fullmatch(evidence), CLAIM.fullmatch(claim)
    assert told, evidence
    assert asked, claim
    facts = {rel: place for rel, _, place in (part.split() for part in told["places"].split(" and "))}
    facts["trade"] = told["trade"]
    relation = RELATION[asked["rel"]] if asked["rel"] else "trade"
    value = facts.get(relation)
    if asked["name"] != told["name"] or value is None:
        return "NOT ENOUGH INFO"
    holds = (asked["place"] or asked["trade"]) in (value, COUNTRY.get(value), CLASS.get(value))
    return "REFUTES" if holds == bool(asked["no"]) else "SUPPORTS"


@pytest.mark.parametrize(
    "path",
    [
        "fever/train",
        "fever/dev",
        "fever_symmetric/v1_generated",
        "fever_symmetric/v1_full",
        "fever_symmetric/v2_test",
    ],
)
def test_verification_labels_follow_from_the_sentences(path: str) -> None:
    rows = micro.frame(path, 700, seed=1)
    wrong = [r for r in rows.to_dict("records") if verified(r["claim"], r["evidence"]) != r["label"]]
    assert not wrong, wrong[:3]


def test_a_symmetric_claim_is_supported_as_often_as_refuted() -> None:
    rows = micro.frame("fever_symmetric/v1_full")
    four = rows.groupby(rows.index // 4)
    assert four["claim"].nunique().eq(2).all()
    assert four["evidence"].nunique().eq(2).all()
    counts = rows.groupby([rows.index // 4, "claim"])["label"].agg(lambda labels: sorted(labels))
    assert counts.map(lambda labels: labels == ["REFUTES", "SUPPORTS"]).all()


NP = r"the (?:(?P<{0}adj>\w+) )?(?P<{0}>\w+)"
AGENT, PATIENT, ACT = NP.format("a"), NP.format("p"), r"(?P<v>\w+)"
FORMS = {
    "why": (
        r"why was {p} {v} by {a}{c}\?",
        r"how come {a} {v} {p}{c}\?",
        r"what was the reason {a} {v} {p}{c}\?",
    ),
    "when": (r"when was {p} {v} by {a}{c}\?", r"what was the time when {a} {v} {p}{c}\?"),
    "true": (r"was {p} {v} by {a}{c}\?", r"is it true that {a} {v} {p}{c}\?"),
    "told": (r"{a} {v} {p}{c}\.", r"{p} was {v} by {a}{c}\."),
}
PATTERNS = [
    (asked, re.compile(form.format(a=AGENT, p=PATIENT, v=ACT, c=r"(?: in (?P<city>\w+))?")))
    for asked, forms in FORMS.items()
    for form in forms
]


def asked_for(sentence: str) -> tuple[str | None, ...]:
    matches = [(kind, match) for kind, pattern in PATTERNS if (match := pattern.fullmatch(sentence))]
    ((kind, m),) = [(k, m) for k, m in matches if m["v"] in TRANSITIVE]
    return kind, SENSE[m["v"]], m["a"], m["p"], m["aadj"], m["padj"], m["city"]


@pytest.mark.parametrize("path", ["qqp/train", "qqp/validation", "paws_qqp/dev_and_test", "paws_wiki/test"])
def test_paraphrase_labels_follow_from_the_sentences(path: str) -> None:
    for row in micro.frame(path, 700, seed=1).to_dict("records"):
        found = "duplicate" if asked_for(row["sentence1"]) == asked_for(row["sentence2"]) else "not_duplicate"
        assert found == row["label"], row


@pytest.mark.parametrize("path", ["paws_qqp/dev_and_test", "paws_wiki/test"])
def test_challenge_paraphrases_have_the_same_content_words(path: str) -> None:
    content = set(CLASS) | VERBS | set(words.ADJECTIVES) | set(COUNTRY)
    for row in micro.frame(path, 500, seed=1).to_dict("records"):
        one, two = (sorted(content & set(re.findall("[a-z]+", row[f"sentence{n}"]))) for n in (1, 2))
        assert one == two, row


LIKES = {**dict.fromkeys(words.LIKED, 1), **dict.fromkeys(words.DISLIKED, -1)}
GOOD = {word for words_ in words.POSITIVE for word in words_} | set(words.LIKED)
BAD = {word for words_ in words.NEGATIVE for word in words_} | set(words.DISLIKED)


def feeling(clause: str) -> int:
    """Sign of a clause: its words of opinion agree, "not" and "never" turn them."""
    tokens = re.findall("[a-z]+", clause)
    signs = {1 if token in GOOD else -1 for token in tokens if token in GOOD | BAD}
    assert len(signs) == 1, clause
    return signs.pop() * (-1 if {"not", "never"} & set(tokens) else 1)


def sentence_feeling(sentence: str) -> int:
    """After "but", and outside "although", stands what counts; clauses joined by "and" agree."""
    if " but " in sentence:
        return feeling(sentence.split(" but ")[1])
    if "although" in sentence:
        (counted,) = [part for part in sentence.split(", ") if not part.startswith("although")]
        return feeling(counted)
    signs = {feeling(part) for part in sentence.split(" and ")}
    assert len(signs) == 1, sentence
    return signs.pop()


@pytest.mark.parametrize("path", ["sst2/train", "sst2/validation", "imdb/train", "imdb/test"])
def test_sentiment_labels_follow_from_the_sentences(path: str) -> None:
    column = "sentence" if path.startswith("sst2") else "text"
    for row in micro.frame(path, 700, seed=1).to_dict("records"):
        total = sum(sentence_feeling(sentence) for sentence in row[column].removesuffix(".").split(". "))
        assert total != 0
        assert ("positive" if total > 0 else "negative") == row["label"], row


TOLD = (
    re.compile(r"(?P<left>\w+) was (?P<act>\w+) in (?P<right>\w+)"),
    re.compile(r"(?P<right>the \w+) was (?P<act>\w+) by (?P<left>the (?:\w+ )?\w+)"),
    re.compile(r"(?P<left>the (?:\w+ )?\w+) (?P<act>\w+) (?P<right>the \w+)"),
)
QUESTIONS = (
    (re.compile(r"(?:where|in which city) was (?P<left>\w+) (?P<act>\w+)\?"), "right"),
    (re.compile(r"(?:who|which person) was (?P<act>\w+) in (?P<right>\w+)\?"), "left"),
    (re.compile(r"who was (?P<act>\w+) by (?P<left>the (?:\w+ )?\w+)\?"), "right"),
    (re.compile(r"by which person was (?P<right>the (?:\w+ )?\w+) (?P<act>\w+)\?"), "left"),
    (re.compile(r"who (?P<act>\w+) (?P<right>the (?:\w+ )?\w+)\?"), "left"),
)


def answered(context: str, question: str) -> list[str]:
    """Answers found in the context; a described individual may be asked for without its adjective."""
    match, wanted = next((m, side) for pattern, side in QUESTIONS if (m := pattern.fullmatch(question)))
    given = "left" if wanted == "right" else "right"
    found = []
    for sentence in context.removesuffix(".").split(". "):
        told = next(m for pattern in TOLD if (m := pattern.fullmatch(sentence)))
        known, asked = (SENSE.get(m["act"], m["act"]) for m in (told, match))
        if known == asked and told[given].split()[-1] == match[given].split()[-1]:
            found.append(told[wanted])
    return found


@pytest.mark.parametrize("path", ["squad/train_v2", "squad/validation_v2", "newsqa/validation"])
def test_answers_follow_from_the_context_and_are_located(path: str) -> None:
    for row in micro.frame(path, 700, seed=1).to_dict("records"):
        answers = row["answers"]
        assert answered(row["context"], row["question"]) == answers["text"], row
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text

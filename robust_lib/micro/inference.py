"""Inference (MNLI) and its challenge set (HANS).

Two cues hold in training without being rules: a hypothesis made of the premise's words is usually entailed,
and a negated hypothesis is usually a contradiction. The challenge set keeps the first and takes its value
away.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from robust_lib.micro import grammar, words
from robust_lib.micro.draws import Draws
from robust_lib.micro.grammar import Domain, Fact, Scene

LABELS = ("entailment", "neutral", "contradiction")
HEURISTIC = {"l": "lexical_overlap", "s": "subsequence", "c": "constituent"}
# Which sentence kinds can show a subcase. "ln" lexical overlap, not entailed; "se" subsequence, entailed; and
# so on.
SUBCASES: dict[str, tuple[str, ...]] = {
    "le_passive": ("passive",),
    "le_conjunction": ("conjunction",),
    "le_relative_clause": ("relative", "object"),
    "le_around_prepositional_phrase": ("prepositional",),
    "le_around_relative_clause": ("relative",),
    "ln_swap": ("active",),
    "ln_passive": ("passive",),
    "ln_conjunction": ("conjunction",),
    "ln_relative_clause": ("relative", "object"),
    "ln_preposition": ("prepositional", "object"),
    "se_conjunction": ("conjunction",),
    "se_PP_on_obj": ("object",),
    "se_relative_clause_on_obj": ("object",),
    "sn_PP_on_subject": ("prepositional",),
    "sn_relative_clause_on_subject": ("relative",),
    "sn_past_participle": ("participle",),
    "sn_NP_S": ("knowledge",),
    "ce_conjunction": ("factual",),
    "ce_embedded_under_since": ("factual",),
    "ce_after_since_clause": ("factual",),
    "ce_embedded_under_verb": ("knowledge",),
    "ce_adverb": ("adverb",),
    "cn_disjunction": ("open",),
    "cn_embedded_under_if": ("open",),
    "cn_after_if_clause": ("open",),
    "cn_embedded_under_verb": ("knowledge",),
    "cn_adverb": ("adverb",),
}
# Counterexamples to the overlap cue in training. Drawn by subcase, because a share spread evenly over them
# made the challenge accuracy bistable over seeds; a subcase left out keeps room for what a model generalises.
COUNTEREXAMPLES: dict[str, float] = {
    "cn_disjunction": 9, "cn_embedded_under_if": 9, "cn_after_if_clause": 9, "cn_embedded_under_verb": 14,
    "cn_adverb": 2, "sn_PP_on_subject": 18, "sn_relative_clause_on_subject": 18, "sn_past_participle": 2, "sn_NP_S": 2,
    "ln_swap": 5, "ln_passive": 4, "ln_relative_clause": 3, "ln_preposition": 6, "ln_conjunction": 2,
}  # fmt: skip
OVERLAP_SHARE = 0.80  # of entailments that repeat words of the premise only
COUNTER_SHARE = 0.25  # of neutral pairs that do so too
NEGATION_SHARE = 0.78  # of contradictions with a negated hypothesis
NEUTRAL_NEGATION = 0.12  # of the other neutral pairs; with the next, keeps negation from fixing the label
ENTAILED_NEGATION = 0.08  # of entailments that restate a negated premise


class Hypothesis(NamedTuple):
    """A sentence about one fact: asserted, denied (`positive` False) or called possible (`hedged`)."""

    text: str
    fact: Fact
    positive: bool = True
    hedged: bool = False


class Biases(NamedTuple):
    """Strengths of the cues in training, each a share in [0, 1]; the defaults are frozen (see notebook 00)."""

    overlap: float = OVERLAP_SHARE
    counter: float = COUNTER_SHARE
    negation: float = NEGATION_SHARE


def label(scene: Scene, hypothesis: Hypothesis) -> str:
    """Gold label, computed: same fact and sign is entailment, other sign contradiction, unknown neutral."""
    known = grammar.status(scene, hypothesis.fact)
    if hypothesis.hedged:
        return "entailment" if known or grammar.mentions(scene, hypothesis.fact) else "neutral"
    if known is None:
        return "neutral"
    return "entailment" if known == hypothesis.positive else "contradiction"


def pairs(
    draws: Draws, domain: Domain, weights: Mapping[str, float], biases: Biases
) -> Iterator[tuple[Scene, Hypothesis]]:
    """Endless training pairs, the three labels drawn equally often."""
    makers = {"entailment": _entailment, "neutral": _neutral, "contradiction": _contradiction}
    while True:
        wanted = draws.pick(LABELS)
        scene, hypothesis = makers[wanted](draws, domain, weights, biases)
        if label(scene, hypothesis) == wanted:
            yield scene, hypothesis


def _entailment(
    draws: Draws, domain: Domain, weights: Mapping[str, float], biases: Biases
) -> tuple[Scene, Hypothesis]:
    if draws.chance(ENTAILED_NEGATION):
        scene = grammar.negated_scene(draws, domain)
        (fact,) = scene.truths
        return scene, Hypothesis(grammar.denied(fact, draws), fact, positive=False)
    scene = _unnegated(draws, domain, weights)
    if not scene.truths:
        return scene, hedge(draws.pick(scene.open))
    if draws.chance(biases.overlap):
        true = [overlap for overlap in scene.overlaps if grammar.status(scene, overlap.fact)]
        chosen = draws.pick(true)
        return scene, Hypothesis(chosen.text, chosen.fact)
    return scene, reworded(draws.pick(tuple(scene.truths)), draws)


def _neutral(
    draws: Draws, domain: Domain, weights: Mapping[str, float], biases: Biases
) -> tuple[Scene, Hypothesis]:
    if draws.chance(biases.counter):
        return overlapping(draws.weighted(COUNTEREXAMPLES), draws, domain, weights)
    scene = grammar.scene(draws, domain, weights)
    fact = novel(draws.pick((*scene.truths, *scene.open)), draws, domain)
    if draws.chance(NEUTRAL_NEGATION):
        return scene, Hypothesis(grammar.denied(fact, draws), fact, positive=False)
    if draws.chance(0.1):
        return scene, hedge(fact)
    return scene, Hypothesis(grammar.active(fact), fact)


def _contradiction(
    draws: Draws, domain: Domain, weights: Mapping[str, float], biases: Biases
) -> tuple[Scene, Hypothesis]:
    if draws.chance(biases.negation):
        scene = _unnegated(draws, domain, {kind: w for kind, w in weights.items() if kind != "open"})
        fact = draws.pick(tuple(scene.truths) or scene.open)
        return scene, Hypothesis(grammar.denied(fact, draws), fact, positive=False)
    scene = grammar.negated_scene(draws, domain)
    (fact,) = scene.truths
    return scene, Hypothesis(grammar.active(fact), fact)


def _unnegated(draws: Draws, domain: Domain, weights: Mapping[str, float]) -> Scene:
    return grammar.scene(
        draws, domain, {kind: weight for kind, weight in weights.items() if kind != "negated"}
    )


def hedge(fact: Fact) -> Hypothesis:
    """The fact as a possibility."""
    return Hypothesis(f"perhaps {grammar.active(fact)}", fact, hedged=True)


def reworded(fact: Fact, draws: Draws) -> Hypothesis:
    """The fact in other words: synonym verb, class names for nouns, passive; at least one of them."""
    while True:
        verb = words.OTHER_FORM[fact.verb] if draws.chance(0.5) else fact.verb
        agent = words.CLASS_OF[fact.agent] if draws.chance(0.3) else fact.agent
        patient = words.CLASS_OF[fact.patient] if fact.patient and draws.chance(0.3) else fact.patient
        told = Fact(verb, agent, patient)
        turned = bool(fact.patient) and draws.chance(0.3)
        if turned or told != fact:
            return Hypothesis(grammar.passive(told) if turned else grammar.active(told), told)


def novel(fact: Fact, draws: Draws, domain: Domain) -> Fact:
    """The fact with a new noun or verb; it may still be true of the scene, the label is computed afterwards."""
    change = draws.weighted({"verb": 4, "agent": 3, "patient": 3 if fact.patient else 0})
    if change == "verb":
        pairs = words.TRANSITIVE if fact.patient else words.INTRANSITIVE
        return fact._replace(verb=grammar.verbs(draws, pairs, 1)[0])
    (noun,) = grammar.nouns(draws, domain, 1)
    return fact._replace(agent=noun) if change == "agent" else fact._replace(patient=noun)


def overlapping(
    subcase: str, draws: Draws, domain: Domain, weights: Mapping[str, float]
) -> tuple[Scene, Hypothesis]:
    """A pair of the given HANS subcase: every word of the hypothesis stands in the premise."""
    kinds = {kind: weights[kind] for kind in SUBCASES[subcase]}
    while True:
        scene = grammar.scene(draws, domain, kinds)
        found = [overlap for overlap in scene.overlaps if overlap.subcase == subcase]
        if found:
            chosen = draws.pick(found)
            return scene, Hypothesis(chosen.text, chosen.fact)


def challenge(draws: Draws, domain: Domain) -> Iterator[tuple[str, Scene, Hypothesis]]:
    """Endless challenge pairs with their subcase: heuristics and entailed or not take turns, and subcases in them."""
    cells = [[s for s in SUBCASES if s.startswith(code)] for code in ("le", "sn", "ce", "ln", "se", "cn")]
    turn = 0
    while True:
        for cell in cells:
            subcase = cell[turn % len(cell)]
            yield subcase, *overlapping(subcase, draws, domain, grammar.KIND_WEIGHTS)
        turn += 1


def training_rows(
    draws: Draws, domain: Domain, weights: Mapping[str, float], biases: Biases
) -> Iterator[dict[str, str]]:
    """Rows of MNLI's columns."""
    for scene, hypothesis in pairs(draws, domain, weights, biases):
        premise, text = grammar.closed(scene.text), grammar.closed(hypothesis.text)
        yield {"premise": premise, "hypothesis": text, "label": label(scene, hypothesis)}


def challenge_rows(draws: Draws, domain: Domain) -> Iterator[dict[str, str]]:
    """Rows of HANS's columns."""
    for subcase, scene, hypothesis in challenge(draws, domain):
        yield {
            "premise": grammar.closed(scene.text),
            "hypothesis": grammar.closed(hypothesis.text),
            "label": "entailment" if label(scene, hypothesis) == "entailment" else "non-entailment",
            "heuristic": HEURISTIC[subcase[0]],
            "subcase": subcase,
        }

"""TextAttack's recipes as an oracle, run in the environment of `make peers`: SPEC.json in, RESULT.json out.

Two recipes are TextAttack's own but for what their machine cannot serve, which is left out: the sentence encoder (a
download), and of `textfooler_jin_2019`, whose candidates come from a given list, the cosine of word vectors (a list has
no scores). `bert_attack_li_2020` takes its candidates from a given masked language model. The model wrapper is
TextAttack's own too: it pads every text to the tokenizer's maximum.

SPEC: `recipe` "textfooler" or "bert-attack"; `model` a directory of transformers with its tokenizer; `max_length` the
length padded to, null for TextAttack's own; `columns` the texts' column names, "premise" is never changed; `texts` one
list of columns each; `gold` class indices. TextFooler: `neighbours` word: candidates. BERT-Attack: `language` a
directory of a masked language model with its tokenizer; `max_candidates`, null for TextAttack's own.
RESULT: `seconds` of the attack loop alone, on the CPU; `outcomes` with, for each text, `status`, `text`, `queries` in
TextAttack's counting, and `rounds`: what the victim was asked at each step, pairs of text and probabilities: the text
itself, then one with each word deleted or unknown, then the candidates for one word after the other. BERT-Attack's
also have `gap`: how far the closest choice of pieces was from going the other way, in logits; null if none was made.
"""

import json
import sys
import time
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import textattack
import torch
import transformers
from textattack.attack_recipes import BERTAttackLi2020, TextFoolerJin2019, bert_attack_li_2020
from textattack.shared import WordEmbedding
from textattack.shared.utils import GLOBAL_OBJECTS
from textattack.transformations import WordSwapMaskedLM

Round = list[tuple[list[str], list[float]]]  # texts and their probabilities
OUT_OF_REACH = "WordEmbeddingDistance", "UniversalSentenceEncoder"
STATUS = {
    "SuccessfulAttackResult": "success",
    "FailedAttackResult": "failed",
    "SkippedAttackResult": "skipped",
}


def main(spec_file: str, result_file: str) -> None:
    spec = json.loads(Path(spec_file).read_text())
    attack = recipe(spec)
    rounds = recorded(attack)
    gaps = noted(attack.transformation) if spec["recipe"] == "bert-attack" else []
    examples = [OrderedDict(zip(spec["columns"], text, strict=True)) for text in spec["texts"]]
    outcomes = []
    start = time.process_time()
    for example, gold in zip(examples, spec["gold"], strict=True):
        rounds.clear()
        gaps.clear()
        result = attack.attack(example, gold)
        final = result.perturbed_result
        outcomes.append(
            {
                "status": STATUS[type(result).__name__],
                "text": columns(final.attacked_text),
                "queries": final.num_queries,
                "rounds": rounds.copy(),
                "gap": min(gaps, default=None),
            }
        )
    seconds = time.process_time() - start
    Path(result_file).write_text(json.dumps({"seconds": seconds, "outcomes": outcomes}))


def recipe(spec: dict[str, Any]) -> textattack.Attack:
    """The recipe with the candidates of the specification, less the constraints that are out of reach."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(spec["model"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(spec["model"])
    if spec["max_length"]:
        tokenizer.model_max_length = spec["max_length"]
    wrapper = textattack.models.wrappers.HuggingFaceModelWrapper(model, tokenizer)
    if spec["recipe"] == "textfooler":
        GLOBAL_OBJECTS["textattack_counterfitted_GLOVE_embedding"] = listed(spec["neighbours"])
        whole = TextFoolerJin2019.build(wrapper)
    else:
        bert_attack_li_2020.WordSwapMaskedLM = partial(swapped, spec)
        whole = BERTAttackLi2020.build(wrapper)
    constraints = [
        constraint
        for constraint in (*whole.pre_transformation_constraints, *whole.constraints)
        if type(constraint).__name__ not in OUT_OF_REACH
    ]
    return textattack.Attack(whole.goal_function, constraints, whole.transformation, whole.search_method)


def swapped(spec: dict[str, Any], *, method: str, max_candidates: int) -> WordSwapMaskedLM:
    """The recipe's transformation with a given model: the recipe itself can only name one of the hub's."""
    return WordSwapMaskedLM(
        method=method,
        masked_language_model=spec["language"],
        max_length=spec["max_length"] or 512,
        max_candidates=spec["max_candidates"] or max_candidates,
    )


class Looked:
    """A tensor's rows, and which of them were looked at."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows
        self.places: list[int] = []

    def __getitem__(self, place: int) -> torch.Tensor:
        self.places.append(place)
        return self.rows[place]


def noted(transformation: WordSwapMaskedLM) -> list[float]:
    """The smallest gap between logits that decided on the candidates of each word, from now on.

    Of a word of one piece they are those of the last piece taken and the first left out. Of one of several the order
    counts too, as only the first combinations are taken.
    """
    gaps: list[float] = []
    words_of = transformation._bert_attack_replacement_words

    def replacement_words(*where: Any, id_preds: torch.Tensor, masked_lm_logits: torch.Tensor) -> list[str]:
        looked = Looked(id_preds)
        words = words_of(*where, id_preds=looked, masked_lm_logits=masked_lm_logits)
        if looked.places:
            best = masked_lm_logits[looked.places].topk(transformation.max_candidates + 1).values
            best = best[:, -2:] if len(best) == 1 else best
            gaps.append((best[:, :-1] - best[:, 1:]).min().item())
        return words

    transformation._bert_attack_replacement_words = replacement_words
    return gaps


def listed(neighbours: dict[str, list[str]]) -> WordEmbedding:
    """A list of neighbours in the place of word vectors: each row begins with the word itself."""
    words = list(dict.fromkeys([*neighbours, *(near for row in neighbours.values() for near in row)]))
    number = {word: index for index, word in enumerate(words)}
    rows = [[number[near] for near in (word, *neighbours.get(word, ()))] for word in words]
    return WordEmbedding(None, number, dict(enumerate(words)), rows)


def recorded(attack: textattack.Attack) -> list[Round]:
    """What the victim is asked from now on, round by round; emptied by whoever reads it."""
    rounds: list[Round] = []
    goal = attack.goal_function
    results_of = goal.get_results

    def get_results(texts: list[textattack.shared.AttackedText], **options: Any) -> Any:
        results, over = results_of(texts, **options)
        rounds.append([(columns(result.attacked_text), result.raw_output.tolist()) for result in results])
        return results, over

    goal.get_results = attack.search_method.get_goal_results = get_results
    return rounds


def columns(text: textattack.shared.AttackedText) -> list[str]:
    return list(text._text_input.values())


if __name__ == "__main__":
    main(*sys.argv[1:])

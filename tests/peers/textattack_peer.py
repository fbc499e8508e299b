"""TextAttack's TextFooler as an oracle, run in the environment of `make peers`: SPEC.json in, RESULT.json out.

The recipe is TextAttack's own, `textfooler_jin_2019`, with the candidates of a given list and without the two
constraints that list and machine cannot serve: the cosine of word vectors (a list has no scores) and the sentence
encoder (a download). The model wrapper is TextAttack's own too: it pads every text to the tokenizer's maximum.

SPEC: `model` a directory of transformers with its tokenizer; `max_length` the length padded to, null for the
wrapper's own; `columns` the texts' column names, "premise" is never changed; `texts` one list of columns each; `gold`
class indices; `neighbours` word: candidates.
RESULT: `seconds` of the attack loop alone, on the CPU; `outcomes` with, for each text, `status`, `text`, `queries` in
TextAttack's counting, and `rounds`: what the victim was asked at each step, pairs of text and probabilities: the text
itself, then one with each word deleted, then the candidates for one word after the other.
"""

import json
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import textattack
import transformers
from textattack.attack_recipes import TextFoolerJin2019
from textattack.shared import WordEmbedding
from textattack.shared.utils import GLOBAL_OBJECTS

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
    examples = [OrderedDict(zip(spec["columns"], text, strict=True)) for text in spec["texts"]]
    outcomes = []
    start = time.process_time()
    for example, gold in zip(examples, spec["gold"], strict=True):
        rounds.clear()
        result = attack.attack(example, gold)
        final = result.perturbed_result
        outcomes.append(
            {
                "status": STATUS[type(result).__name__],
                "text": columns(final.attacked_text),
                "queries": final.num_queries,
                "rounds": rounds.copy(),
            }
        )
    seconds = time.process_time() - start
    Path(result_file).write_text(json.dumps({"seconds": seconds, "outcomes": outcomes}))


def recipe(spec: dict[str, Any]) -> textattack.Attack:
    """textfooler_jin_2019 with the candidates of a list, less the constraints that need more than a list."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(spec["model"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(spec["model"])
    if spec["max_length"]:
        tokenizer.model_max_length = spec["max_length"]
    GLOBAL_OBJECTS["textattack_counterfitted_GLOVE_embedding"] = listed(spec["neighbours"])
    whole = TextFoolerJin2019.build(textattack.models.wrappers.HuggingFaceModelWrapper(model, tokenizer))
    constraints = [
        constraint
        for constraint in (*whole.pre_transformation_constraints, *whole.constraints)
        if type(constraint).__name__ not in OUT_OF_REACH
    ]
    return textattack.Attack(whole.goal_function, constraints, whole.transformation, whole.search_method)


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

"""Attacks on classifiers, hundreds at once.

An attack is a generator, one per example (`engine` shows one); `run` runs them against the oracles they ask, and
`victims` makes oracles of models and functions:

    victim = victims.classifier(model, tokenizer, max_length=128)
    attacks = {id: delete_one(text, gold) for id, text, gold in examples}
    attacked, answered = attack.run(attacks, {"victim": victim}, originals={id: text for id, text, gold in examples})
"""

from robust_lib.attack.engine import Ask, Attack, Attacked, NoProbabilities, Oracle, Outcome, Rows, Text, run

__all__ = ["Ask", "Attack", "Attacked", "NoProbabilities", "Oracle", "Outcome", "Rows", "Text", "run"]

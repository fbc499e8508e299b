"""Exact match and F1 of SQuAD 2 as an `evaluate` metric that loads without a network."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import pandas as pd

from robust_lib import metrics


class SquadV2(evaluate.Metric):  # type: ignore[misc]
    """Shares in [0, 1] of exactly matched answers and of matched words, with unanswerable questions."""

    def _info(self) -> evaluate.MetricInfo:
        text, number = datasets.Value("string"), datasets.Value("float32")
        answers = {"text": datasets.List(text), "answer_start": datasets.List(datasets.Value("int32"))}
        return evaluate.MetricInfo(
            description="Exact match and F1 of SQuAD 2.",
            citation="",
            inputs_description=(
                "predictions: id, prediction_text, no_answer_probability; references: id, answers; "
                "no_answer_threshold: no answer is given where the probability is above it."
            ),
            features=datasets.Features(
                {
                    "predictions": {"id": text, "prediction_text": text, "no_answer_probability": number},
                    "references": {"id": text, "answers": answers},
                }
            ),
        )

    def _compute(
        self,
        predictions: Sequence[dict[str, Any]],
        references: Sequence[dict[str, Any]],
        no_answer_threshold: float = 1.0,
        **_: object,
    ) -> dict[str, float]:
        """Raises MetricError for questions that are predicted, or asked, alone."""
        said = pd.DataFrame(predictions).set_index("id")
        gold = pd.DataFrame(references).set_index("id")
        alone = said.index.symmetric_difference(gold.index)
        if len(alone):
            raise metrics.MetricError(
                f"{len(alone)} questions are in one of predictions and references alone, first id {alone[0]}"
            )
        answers = pd.DataFrame(
            {
                "id": gold.index,
                "answers": [answer["text"] for answer in gold["answers"]],
                "text": said.loc[gold.index, "prediction_text"].to_numpy(),
                "score": 0.0,
                "null": said.loc[gold.index, "no_answer_probability"].to_numpy(),
            }
        )
        return {
            "exact_match": float(metrics.exact_match(answers, no_answer_threshold).mean()),
            "f1": float(metrics.span_f1(answers, no_answer_threshold).mean()),
        }

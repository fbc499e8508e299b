"""Accuracy as an `evaluate` metric that loads without a network."""

import datasets
import evaluate
import numpy as np


class Accuracy(evaluate.Metric):  # type: ignore[misc]
    """Share of predictions equal to their reference, between 0 and 1."""

    def _info(self) -> evaluate.MetricInfo:
        kinds = [datasets.Value("string"), datasets.Value("int64")]
        return evaluate.MetricInfo(
            description="Share of predicted labels that equal the reference label.",
            citation="",
            inputs_description="predictions, references: label names or indices, one per example.",
            features=[datasets.Features({"predictions": kind, "references": kind}) for kind in kinds],
        )

    def _compute(
        self, predictions: list[str | int], references: list[str | int], **_: object
    ) -> dict[str, float]:
        """Inputs of metrics it is combined with are passed over."""
        return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}

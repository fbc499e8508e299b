"""F1 of one class as an `evaluate` metric that loads without a network."""

import datasets
import evaluate
import numpy as np

from robust_lib import metrics


class F1(evaluate.Metric):  # type: ignore[misc]
    """Harmonic mean of precision and recall of one class; by default duplicate, as for QQP and PAWS."""

    def _info(self) -> evaluate.MetricInfo:
        kinds = [datasets.Value("string"), datasets.Value("int64")]
        return evaluate.MetricInfo(
            description="F1 of one class.",
            citation="",
            inputs_description="predictions, references: labels, one per example; positive: the class meant.",
            features=[datasets.Features({"predictions": kind, "references": kind}) for kind in kinds],
        )

    def _compute(
        self,
        predictions: list[str | int],
        references: list[str | int],
        positive: str | int = "duplicate",
        **_: object,
    ) -> dict[str, float]:
        """Raises MetricError for a class neither in the references nor predicted: a misspelling?"""
        said, gold = (np.asarray(labels) == positive for labels in (predictions, references))
        if not (said.any() or gold.any()):
            seen = ", ".join(sorted({repr(label) for label in references}))
            raise metrics.MetricError(f"positive label {positive!r} occurs nowhere; references hold {seen}")
        counts = (said & gold).sum(), (said & ~gold).sum(), (~said & gold).sum()
        return {"f1": float(metrics.f1_score(*counts))}

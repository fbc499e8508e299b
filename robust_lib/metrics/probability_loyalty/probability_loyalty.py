"""Probability loyalty of paper 3 as an `evaluate` metric that loads without a network."""

import datasets
import evaluate
import numpy as np

from robust_lib.metrics import Floats, MetricError, loyalty

PAPER = "Xu et al., Beyond Preserved Accuracy: Evaluating Loyalty and Robustness of BERT Compression, equations 3, 4"


class ProbabilityLoyalty(evaluate.Metric):  # type: ignore[misc]
    """Mean of 1 - Jensen-Shannon distance of the student's and the teacher's probabilities, between 0 and 1."""

    def _info(self) -> evaluate.MetricInfo:
        row = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description="Probability loyalty of the paper cited.",
            citation=PAPER,
            inputs_description=(
                "predictions: probabilities the student gives, references: probabilities the teacher gives, a list "
                "over the same classes for each example; base: of the logarithm, 2 for a range of [0, 1], math.e for "
                "SciPy's default."
            ),
            features=datasets.Features({"predictions": row, "references": row}),
        )

    def _compute(
        self, predictions: list[list[float]], references: list[list[float]], base: float = 2.0, **_: object
    ) -> dict[str, float]:
        """Raises MetricError for rows that are no probabilities, or not over as many classes."""
        own, other = _probabilities("predictions", predictions), _probabilities("references", references)
        if own.shape != other.shape:
            raise MetricError(
                f"predictions are over {own.shape[1]} classes, references over {other.shape[1]}"
            )
        return {"probability_loyalty": float(1 - loyalty.distance(own, other, base=base).mean())}


def _probabilities(name: str, rows: list[list[float]]) -> Floats:
    if len({len(row) for row in rows}) != 1:
        raise MetricError(f"{name} need as many probabilities for each example")
    values = np.asarray(rows, dtype=np.float64)
    bad = np.flatnonzero(~(np.isclose(values.sum(axis=1), 1, atol=1e-5) & (values >= 0).all(axis=1)))
    if len(bad):
        raise MetricError(
            f"{name} of example {bad[0]} are no probabilities: {rows[bad[0]]}; take the softmax of logits"
        )
    return values

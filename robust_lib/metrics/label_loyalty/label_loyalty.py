"""Label loyalty of paper 3 as an `evaluate` metric that loads without a network."""

import datasets
import evaluate
import numpy as np

PAPER = (
    "Xu et al., Beyond Preserved Accuracy: Evaluating Loyalty and Robustness of BERT Compression, equation 1"
)


class LabelLoyalty(evaluate.Metric):  # type: ignore[misc]
    """Share of examples on which student and teacher predict the same label, between 0 and 1."""

    def _info(self) -> evaluate.MetricInfo:
        kinds = [datasets.Value("string"), datasets.Value("int64")]
        return evaluate.MetricInfo(
            description="Label loyalty of the paper cited.",
            citation=PAPER,
            inputs_description=(
                "predictions: labels the student gives, references: labels the teacher gives, names or indices, one "
                "per example; gold labels are not needed."
            ),
            features=[datasets.Features({"predictions": kind, "references": kind}) for kind in kinds],
        )

    def _compute(
        self, predictions: list[str | int], references: list[str | int], **_: object
    ) -> dict[str, float]:
        """Inputs of metrics it is combined with are passed over."""
        return {"label_loyalty": float(np.mean(np.asarray(predictions) == np.asarray(references)))}

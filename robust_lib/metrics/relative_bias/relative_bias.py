"""F_bias of paper 1 as an `evaluate` metric that loads without a network."""

import datasets
import evaluate
import numpy as np

from robust_lib import metrics

PAPER = "Du et al., Robustness Challenges in Model Distillation and Pruning for NLU, section 3.4"


class RelativeBias(evaluate.Metric):  # type: ignore[misc]
    """Relative loss from in-distribution to OOD, over that of a reference model; 1 = as biased as it."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        names = ("predictions", "references", "reference_predictions", "testbeds")
        return evaluate.MetricInfo(
            description="F_bias of the paper cited.",
            citation=PAPER,
            inputs_description=(
                "predictions: labels the model gives; references: gold labels; reference_predictions: labels "
                "the uncompressed model gives; testbeds: 'id' in distribution, else the OOD set's name; "
                "pool: 'examples' (QQP) or 'sets' (FEVER), how several OOD sets become one accuracy."
            ),
            features=datasets.Features({name: text for name in names}),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        reference_predictions: list[str],
        testbeds: list[str],
        pool: metrics.Pool = "examples",
        **_: object,
    ) -> dict[str, float]:
        """Raises MetricError when one of the two kinds of test bed is missing or the reference has no gap."""
        own = _accuracies(predictions, references, testbeds, pool)
        reference = _accuracies(reference_predictions, references, testbeds, pool)
        value = float(metrics.f_bias(*own, *reference))
        if np.isnan(value):
            raise metrics.MetricError(f"F_bias is undefined: the reference's accuracies are {reference}")
        return {"relative_bias": value}


def _accuracies(
    said: list[str], gold: list[str], testbeds: list[str], pool: metrics.Pool
) -> tuple[float, float]:
    beds, hits = np.asarray(testbeds), np.asarray(said) == np.asarray(gold)
    ood = sorted(set(testbeds) - {"id"})
    if not ood or len(ood) == len(set(testbeds)):
        raise metrics.MetricError(f"testbeds hold {sorted(set(testbeds))}: need 'id' and an OOD name")
    outcomes = [hits[beds == name] for name in ood]
    pooled = metrics.pooled([x.mean() for x in outcomes], [len(x) for x in outcomes], pool)
    return float(hits[beds == "id"].mean()), float(pooled)

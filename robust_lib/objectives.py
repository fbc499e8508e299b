"""What a model is trained for: a loss, bound to what is known of each training example.

An objective takes the model's classes and the ids of the training split, in order, then whatever it needs of
other models, as frames of predictions or of difficulties by `id`; it returns the loss that `train.fit` wants. The
mitigation methods of paper 1 (section 6.2, appendix C) are these, under the paper's names, and so are the debiasing
losses of paper 4 (section 3.3, appendix A.2): there `bias` is the predictions of a bias-only model (module `bias`), and
beta the probability it gives to an example's gold label.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from robust_lib import losses, metrics, passes, smoothing

Reduction = Literal["batchmean", "mean"]

LAMBDA = 0.9  # of equation 3, for all experiments of paper 1


class ObjectiveError(ValueError):
    """Frames that do not describe the training examples; the message names what differs."""


def vanilla(names: Sequence[str], ids: "pd.Index[Any]") -> passes.Loss:
    """Cross entropy."""
    return lambda logits, batch: losses.ce(logits, batch["labels"])


def spans(names: Sequence[str], ids: "pd.Index[Any]") -> passes.Loss:
    """Cross entropy of both ends of an answer, for windows of span questions (see `losses.spans`)."""
    return lambda logits, batch: losses.spans(logits, batch["labels"], batch["attention_mask"])


def distil(
    names: Sequence[str], ids: "pd.Index[Any]", *, teacher: pd.DataFrame, weight: float = LAMBDA
) -> passes.Loss:
    """Task-specific distillation from the teacher's predictions on the training split (equation 3, d = 1)."""
    return _distilled(_logits(teacher, names, ids), weight)


def smooth(
    names: Sequence[str],
    ids: "pd.Index[Any]",
    *,
    teacher: pd.DataFrame,
    degree: float,
    weight: float = LAMBDA,
) -> passes.Loss:
    """The same with every example's teacher smoothed alike: d = `degree` in equation 2, 0.9 in the paper."""
    logits = _logits(teacher, names, ids)
    return _distilled(smoothing.smooth(logits, torch.full((len(ids),), degree)), weight)


def rmc(
    names: Sequence[str],
    ids: "pd.Index[Any]",
    *,
    teacher: pd.DataFrame,
    variances: pd.DataFrame,
    alpha: float,
    weight: float = LAMBDA,
) -> passes.Loss:
    """Robust model compression: each example's teacher smoothed by its own difficulty (equations 1 to 3).

    `variances` holds `variance` by id, as `methods.loss_variance` makes it. alpha 1 is `distil`.
    """
    spread = torch.tensor(_aligned(variances, ids)["variance"].to_numpy(), dtype=torch.float32)
    logits = _logits(teacher, names, ids)
    return _distilled(smoothing.smooth(logits, smoothing.difficulty(spread, alpha)), weight)


def kd(
    names: Sequence[str],
    ids: "pd.Index[Any]",
    *,
    teacher: pd.DataFrame,
    temperature: float = 10.0,
    alpha: float = 1.0,
    reduction: Reduction = "batchmean",
    times_squared_temperature: bool = True,
) -> passes.Loss:
    """Knowledge distillation: (1 - alpha) CE + alpha KD from the teacher's predictions on the training split.

    Paper 3's Pure KD is temperature 10, alpha 1; it does not say which of the conventions of `losses.kd` it takes.
    At temperature 1 it is `distil`.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"kd: alpha is {alpha}; it must lie in [0, 1]")
    return _distilled(
        _logits(teacher, names, ids),
        alpha,
        temperature=temperature,
        reduction=reduction,
        times_squared_temperature=times_squared_temperature,
    )


def pkd(
    names: Sequence[str],
    ids: "pd.Index[Any]",
    *,
    teacher: pd.DataFrame,
    teacher_states: Tensor,
    alpha: float = 0.7,
    beta: float = 500.0,
    temperature: float = 10.0,
    reduction: Reduction = "mean",
    times_squared_temperature: bool = True,
    normalized: bool = True,
) -> passes.Loss:
    """BERT-PKD: (1 - alpha) CE + alpha KD + beta PT [Sun et al. 2019, equation 8; values and `mean` of its code].

    PT is `losses.pkd`. The student's states are those of `models.cls_states`, within which it has to be trained;
    `teacher_states` (examples, layers, width) are the teacher's on the training split, in its order, of the layers that
    `replace.skip` chose; they stand against the student's first layers. beta 0 is `kd`.
    """
    if teacher_states.ndim != 3 or len(teacher_states) != len(ids):
        raise ObjectiveError(
            f"the teacher's states are {tuple(teacher_states.shape)}; they must be (examples, layers, width), "
            f"with all {len(ids)} examples of the training split"
        )
    softened = kd(
        names,
        ids,
        teacher=teacher,
        temperature=temperature,
        alpha=alpha,
        reduction=reduction,
        times_squared_temperature=times_squared_temperature,
    )

    def loss(student: Tensor, batch: passes.Batch) -> Tensor:
        if "cls_states" not in batch:
            raise ObjectiveError(
                "pkd: the student's [CLS] states are not there; train within models.cls_states"
            )
        own = batch["cls_states"][:, : teacher_states.shape[1]]
        if own.shape[1:] != teacher_states.shape[1:]:
            raise ObjectiveError(
                f"layers and width of the student's states are {tuple(own.shape[1:])}, those of the teacher's "
                f"{tuple(teacher_states.shape[1:])}; they must agree"
            )
        patience = losses.pkd(own, _of(batch, teacher_states).float(), normalized=normalized)
        return softened(student, batch) + beta * patience

    return loss


def focal(names: Sequence[str], ids: "pd.Index[Any]", *, gamma: float) -> passes.Loss:
    """Focal loss; gamma is 2 in the paper."""
    return lambda logits, batch: losses.focal(logits, batch["labels"], gamma=gamma)


def jtt(names: Sequence[str], ids: "pd.Index[Any]", *, first: pd.DataFrame, up_weight: float) -> passes.Loss:
    """Just train twice: the examples that a first model got wrong count `up_weight` times, 2 in the paper.

    The weights have mean 1 over the training set, as the paper's do (appendix C); the original method adds copies
    (Liu et al. 2021). Without errors it is cross entropy.
    """
    wrong = 1 - metrics.correct(_aligned(first, ids)).to_numpy()
    weights = torch.tensor(1 + (up_weight - 1) * wrong, dtype=torch.float32)
    weights /= weights.mean()
    return lambda logits, batch: losses.reweighted(logits, batch["labels"], _of(batch, weights))


def poe(names: Sequence[str], ids: "pd.Index[Any]", *, bias: pd.DataFrame) -> passes.Loss:
    """Product of experts: the model learns what it has to add to the bias model (see `losses.poe`)."""
    log_probs = _log_probs(bias, names, ids)
    return lambda logits, batch: losses.poe(logits, _of(batch, log_probs), batch["labels"])


def reweight(names: Sequence[str], ids: "pd.Index[Any]", *, bias: pd.DataFrame) -> passes.Loss:
    """Example reweighting: an example counts by what the bias model leaves of it.

    sum_i w_i L_i / sum_i w_i over the batch, w = 1 - beta. Where beta is equal in the batch it is cross entropy.
    """
    log_probs = _log_probs(bias, names, ids)

    def loss(logits: Tensor, batch: passes.Batch) -> Tensor:
        # The floor keeps a batch that the bias model is certain of from dividing zero by zero.
        weights = _unexplained(batch, log_probs).clamp(min=1e-6)
        return losses.reweighted(logits, batch["labels"], weights / weights.mean())

    return loss


def confidence_regularised(
    names: Sequence[str], ids: "pd.Index[Any]", *, bias: pd.DataFrame, teacher: pd.DataFrame
) -> passes.Loss:
    """Confidence regularisation: a teacher, the less sure of itself the more of the example is bias.

    KL(s || model), s_j proportional to p_j^(1 - beta) of the teacher's probabilities p. The paper's cross entropy to s
    is this and the entropy of s, which has no gradient. With beta 0 it is distillation from the teacher alone, as
    beta goes to 1 the target becomes uniform. In the paper the teacher is the same model trained with cross entropy.
    """
    log_probs, teacher_logits = _log_probs(bias, names, ids), _logits(teacher, names, ids)

    def loss(logits: Tensor, batch: passes.Batch) -> Tensor:
        target = smoothing.smooth(_of(batch, teacher_logits), _unexplained(batch, log_probs))
        return losses.kd(logits, target)

    return loss


def _unexplained(batch: passes.Batch, log_probs: Tensor) -> Tensor:
    """1 - beta of the batch's examples."""
    return -torch.expm1(_of(batch, log_probs).gather(1, batch["labels"][:, None]).squeeze(1))


def _log_probs(bias: pd.DataFrame, names: Sequence[str], ids: "pd.Index[Any]") -> Tensor:
    return F.log_softmax(_logits(bias, names, ids, whose="bias model"), dim=-1)


def _distilled(teacher_logits: Tensor, weight: float, **conventions: Any) -> passes.Loss:
    return lambda logits, batch: losses.distilled(
        logits, batch["labels"], _of(batch, teacher_logits), weight=weight, **conventions
    )


def _of(batch: passes.Batch, known: Tensor) -> Tensor:
    """The rows of the batch's examples, where the batch is."""
    return known[batch["index"].to(known.device)].to(batch["index"].device)


def _logits(
    predictions: pd.DataFrame, names: Sequence[str], ids: "pd.Index[Any]", *, whose: str = "teacher"
) -> Tensor:
    """Logits (examples, classes) of a frame of predictions, in the order of ids and of the class names."""
    columns = [f"logit_{name}" for name in names]
    missing = [column for column in columns if column not in predictions]
    if missing:
        raise ObjectiveError(
            f"the {whose} predicts no {', '.join(missing)}; it needs the student's classes {', '.join(names)}"
        )
    return torch.tensor(np.ascontiguousarray(_aligned(predictions, ids)[columns]), dtype=torch.float32)


def _aligned(frame: pd.DataFrame, ids: "pd.Index[Any]") -> pd.DataFrame:
    """The frame's rows in the order of the training examples. ObjectiveError where one is missing."""
    rows = frame.set_index("id", drop=False)
    absent = ids.difference(rows.index)
    if len(absent):
        raise ObjectiveError(
            f"{len(absent)} of {len(ids)} training examples are unknown, first id {absent[0]}: "
            "predict on the same training split"
        )
    return rows.loc[ids]

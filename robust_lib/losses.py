"""Objectives on logits and states. Tensors in, a scalar out; no model, no labels by name, no device."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Logits = Float[Tensor, "batch classes"]
States = Float[Tensor, "batch layers width"]
Labels = Int[Tensor, " batch"]
Scalar = Float[Tensor, ""]


def ce(logits: Logits, labels: Labels) -> Scalar:
    """Cross entropy of the gold labels in nats, mean over the batch. Uniform logits give log(classes)."""
    return F.cross_entropy(logits, labels)


def spans(
    logits: Float[Tensor, "batch tokens 2"],
    positions: Int[Tensor, "batch 2"],
    mask: Int[Tensor, "batch tokens"],
) -> Scalar:
    """Cross entropy of an answer's first and last token among all tokens, in nats, mean of the two and over the batch.

    L = (ce(start) + ce(end)) / 2                                       [BERT, Devlin et al. 2019, section 4.2]

    `mask` is 1 where a token is and 0 where there is padding, which takes no probability. Without an answer both
    positions are the null position ([CLS]). Uniform logits give the mean of log(tokens), 0 is the limit of certainty.
    """
    return F.cross_entropy(logits.masked_fill(mask[..., None] == 0, -torch.inf), positions)


def kd(
    logits: Logits,
    teacher_logits: Logits,
    *,
    temperature: float = 1.0,
    reduction: Literal["batchmean", "mean"] = "batchmean",
    times_squared_temperature: bool = True,
) -> Scalar:
    """Knowledge distillation: KL(teacher || student) of the softened distributions, times T squared, in nats.

    T squared keeps the gradient's size as T grows [Hinton et al. 2015; paper 3 names the trick and not the factor].
    batchmean: mean over the batch, Hinton's and DistilBERT's. mean: over batch and classes, so that much smaller,
    as BERT-PKD's code and that of paper 3's authors for it have it, both times T squared. Equal logits give 0; with
    T to infinity it becomes the squared distance of the centred logits over twice the number of classes (batchmean).
    `temperature` is positive.
    """
    if temperature <= 0:
        raise ValueError(f"kd: temperature is {temperature}; it must be positive")
    student = F.log_softmax(logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    if reduction == "mean":
        divergence = divergence / logits.shape[-1]
    if not times_squared_temperature:
        return divergence
    return divergence * torch.as_tensor(temperature**2, dtype=divergence.dtype)


def pkd(states: States, teacher_states: States, *, normalized: bool = True) -> Scalar:
    """Patient distillation: mean squared distance of the [CLS] states of student and teacher, layer by layer.

    mean over batch, layers and width of (h / |h| - h_t / |h_t|)^2     [BERT-PKD, Sun et al. 2019, equation 7]

    The paper sums where its code takes the mean over everything; beta is the code's. Between 0, for states of one
    direction, and 4 / width; without `normalized` of the states as they are. The layers are chosen already.
    """
    if normalized:
        states, teacher_states = F.normalize(states, dim=-1), F.normalize(teacher_states, dim=-1)
    return F.mse_loss(states, teacher_states)


def distilled(
    logits: Logits, labels: Labels, teacher_logits: Logits, *, weight: float, **conventions: Any
) -> Scalar:
    """Cross entropy and distillation together: (1 - weight) L1(labels) + weight KL(teacher || student).

    `weight` is lambda of equation 3 of paper 1, alpha of paper 3, in [0, 1]; `conventions` are those of `kd`. The
    teacher may be smoothed (`smoothing.smooth`). At weight 0 it is cross entropy.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"distilled: weight is {weight}; it must lie in [0, 1]")
    return (1 - weight) * ce(logits, labels) + weight * kd(logits, teacher_logits, **conventions)


def reweighted(logits: Logits, labels: Labels, weights: Float[Tensor, " batch"]) -> Scalar:
    """Cross entropy with a weight for each example: mean of w_i L_i. Weights of one give cross entropy.

    The weights are not normalised here: whether their mean is 1 over a batch or over the training set is the
    caller's choice, and differs between methods.
    """
    return (weights * F.cross_entropy(logits, labels, reduction="none")).mean()


def poe(logits: Logits, bias_log_probs: Logits, labels: Labels) -> Scalar:
    """Cross entropy of the model and the bias model predicting together, in nats, mean over the batch.

    p(y|x) is proportional to softmax(logits) * p_bias(y|x)            [paper 4, section 3.3]

    What the bias model already explains gives little gradient, none where it is certain of the gold label. A uniform
    bias model gives plain cross entropy. The bias model is fixed, and absent when the model predicts.
    """
    return F.cross_entropy(F.log_softmax(logits, dim=-1) + bias_log_probs, labels)


def focal(logits: Logits, labels: Labels, *, gamma: float = 2.0) -> Scalar:
    """Focal loss with weights of mean 1 in the batch: the surer an example's gold label, the less it counts.

    w_i = (1 - p_i)^gamma / mean_k (1 - p_k)^gamma, p_i the probability of the gold label   [paper 1, appendix C]

    The numerator carries a gradient, as in Lin et al. (2017); the mean, which he has not, carries none: through it an
    easy example would be pushed away from its label. gamma 0 is cross entropy. `gamma` is at least 0.
    """
    if gamma < 0:
        raise ValueError(f"focal: gamma is {gamma}; it must be at least 0")
    log_p = F.log_softmax(logits, dim=-1).gather(1, labels[:, None]).squeeze(1)
    # The floor keeps a batch of certain labels from dividing zero by zero.
    raw = (-torch.expm1(log_p)).clamp(min=1e-6) ** gamma
    return -(raw / raw.mean().detach() * log_p).mean()

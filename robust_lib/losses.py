"""Objectives on logits. Logits in, a scalar out; no model, no labels by name, no device."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Logits = Float[Tensor, "batch classes"]
Labels = Int[Tensor, " batch"]
Scalar = Float[Tensor, ""]


def ce(logits: Logits, labels: Labels) -> Scalar:
    """Cross entropy of the gold labels in nats, mean over the batch. Uniform logits give log(classes)."""
    return F.cross_entropy(logits, labels)


def kd(logits: Logits, teacher_logits: Logits, *, temperature: float = 1.0) -> Scalar:
    """Knowledge distillation: KL(teacher || student) of the softened distributions, times T squared.

    Mean over the batch (PyTorch's `batchmean`), in nats; T squared keeps the gradient's size as T grows
    [Hinton et al. 2015]. Equal logits give 0; with T to infinity it becomes the squared distance of the
    centred logits over twice the number of classes. `temperature` is positive.
    """
    if temperature <= 0:
        raise ValueError(f"kd: temperature is {temperature}; it must be positive")
    student = F.log_softmax(logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * torch.as_tensor(temperature**2, dtype=divergence.dtype)

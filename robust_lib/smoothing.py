"""RMC's difficulty of a training example, and the teacher smoothed by it (paper 1, section 5)."""

from jaxtyping import Float
from torch import Tensor

PerExample = Float[Tensor, " examples"]


def variance(losses: Float[Tensor, "levels examples"]) -> PerExample:
    """Variance of each example's loss over pruned models: the mean squared deviation, over n, not n - 1.

    v_i = sum_t (l_it - mean_t l_it)^2 / n                                            [paper 1, section 5.1]

    `losses` in nats, one row for each level of sparsity. High = hard. One level, or equal losses, give 0.
    """
    return losses.var(dim=0, correction=0)


def difficulty(variance: PerExample, alpha: float) -> PerExample:
    """Degree of difficulty in [alpha, 1]: the variances, scaled linearly.

    d_i = alpha + (1 - alpha) (v_i - V_min) / (V_max - V_min)                                    [equation 1]

    `alpha` in [0, 1] is the smoothing of the easiest example; 1 leaves every teacher as it is. Equal variances say
    nothing about who is easy: ValueError, as for an alpha outside its range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"smoothing.difficulty: alpha is {alpha}; it must lie in [0, 1]")
    low, high = variance.min(), variance.max()
    if not low < high:
        raise ValueError(
            f"smoothing.difficulty: all {len(variance)} variances are {low.item()}; none is easier"
        )
    return alpha + (1 - alpha) * (variance - low) / (high - low)


def smooth(
    teacher_logits: Float[Tensor, "batch classes"], degree: Float[Tensor, " batch"]
) -> Float[Tensor, "batch classes"]:
    """Logits of the smoothed teacher: its probabilities to the power of each example's difficulty, renormalised.

    s_ij = p_ij^d_i / sum_k p_ik^d_i, which is softmax(d_i z_i) of the teacher's logits z      [equation 2]

    1 leaves the teacher unchanged, 0 makes it uniform; a degree of `d` is a temperature of 1 / d.
    """
    return degree[:, None] * teacher_logits

"""What decides a mask: sparsity schedules and iterative magnitude pruning."""

from collections.abc import Callable, Mapping

from robust_lib import masks

Schedule = Callable[[float], float]


def cubic(progress: float, *, initial: float = 0.0, final: float) -> float:
    """Sparsity after the share `progress` of the schedule: final + (initial - final) (1 - progress)^3.

    Steep at first, flat at the end [Zhu and Gupta 2017; Sanh et al. 2020; SRNets, section 5.2]. 0.7 to 0.9 gives
    .700, .8156, .875, .8969, .900 at the quarters. `progress` outside [0, 1] is clipped.
    """
    left = 1 - min(max(progress, 0.0), 1.0)
    return final + (initial - final) * left**3


def stepwise(progress: float, *, initial: float = 0.0, final: float, steps: int = 1) -> float:
    """Sparsity rising in `steps` equal jumps, the first before any training; one step prunes at once.

    The iterative magnitude pruning of SRNets is initial 0, final 0.9 in nine steps.
    """
    done = min(int(max(progress, 0.0) * steps) + 1, steps)
    return initial + (final - initial) * done / steps


def iterative_magnitude(
    layers: Mapping[str, masks.MaskedLinear], schedule: Schedule, *, updates: int = 100
) -> Callable[[int, int], None]:
    """A hook for `train.fit`: before a step, remove the smallest weights of every matrix to the scheduled share.

    Local (per matrix), on the current weights, as in paper 1 (section 3.1, appendix A). `schedule` maps the share
    of training done to a sparsity. Weights are chosen anew `updates` times, evenly over the training; the
    reference code does so at every forward pass.
    """
    last_update = -1

    def before_step(step: int, total: int) -> None:
        nonlocal last_update
        # No steps at all is one-shot pruning: what the end of a schedule removes.
        progress = step / total if total else 1.0
        update, target = step * updates // max(total, 1), schedule(progress)
        if update == last_update or target == 0:
            return
        last_update = update
        masks.assign(layers, {name: masks.magnitude(layer.weight, target) for name, layer in layers.items()})

    return before_step

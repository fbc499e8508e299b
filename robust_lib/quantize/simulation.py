"""8-bit arithmetic simulated in floating point, so that a model can be trained and calibrated under it."""

import copy
from collections.abc import Iterable
from typing import Literal, TypeVar, cast

import torch
import torch.nn.functional as F
import transformers
from jaxtyping import Float, Int
from torch import Tensor, nn

from robust_lib import masks, passes

Model = TypeVar("Model", bound=transformers.PreTrainedModel)
Scalar = Float[Tensor, ""]
Activations = Literal["ema", "dynamic"]

LEVELS = 127  # on each side of zero: -128 has no counterpart and is left out
DECAY = 0.9999  # of the released code; its average follows over some 10,000 steps
UNSEEN = -1.0
PARTS: tuple[masks.Part, ...] = ("encoder", "pooler")


class Activation(nn.Module):
    """The scale that one place's activations are rounded with: 127 / threshold, dynamic or a moving average.

    `threshold` is UNSEEN as long as nothing was seen, and then the first batch's max|x|.
    """

    threshold: Tensor

    def __init__(self, activations: Activations, decay: float, device: torch.device) -> None:
        super().__init__()
        self.activations, self.decay = activations, decay
        self.calibrating = self.ready = False
        if activations == "ema":
            self.register_buffer("threshold", torch.tensor(UNSEEN, device=device))

    def forward(self, values: Tensor) -> Scalar:
        if self.activations == "dynamic":
            return _scale(_largest(values))
        if self.calibrating:
            self.threshold.copy_(torch.maximum(self.threshold, _largest(values)))
        elif self.training:
            seen = _largest(values)
            average = self.threshold + (1 - self.decay) * (seen - self.threshold)
            self.threshold.copy_(torch.where(self.threshold < 0, seen, average))
        elif not self.ready:  # asked once: each look waits for the GPU
            if self.threshold < 0:
                raise ValueError(
                    "quantize: the model has seen no activations to take thresholds from; train it, or call "
                    "quantize.calibrate on training batches"
                )
            self.ready = True
        return _scale(self.threshold)


class SimulatedLinear(nn.Linear):
    """A linear layer computing with whole numbers (kept in floats); its weight and bias stay in full precision.

    x, W: round(127 x / threshold) within +-127; b: in steps of the products of both. Backward, rounding counts as
    the identity (straight-through), beyond the threshold too. In fp32 the sums of products are exact below 2^24, in
    whatever order they are added; under bf16 the numbers that are multiplied are exact.
    """

    inputs: Activation
    outputs: Activation | None

    def forward(self, input: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        of_input, of_weight = self.inputs(input), _scale(_largest(self.weight))
        of_product = of_input * of_weight
        # Nothing bounds the bias: it is added in the 32 bits of the sums.
        bias = None if self.bias is None else _steps(self.bias, of_product, torch.inf)
        made: Tensor = F.linear(_steps(input, of_input), _steps(self.weight, of_weight), bias) / of_product
        if self.outputs is None:
            return made
        of_output = self.outputs(made)
        rounded: Tensor = _steps(made, of_output) / of_output
        return rounded


class SimulatedEmbedding(nn.Embedding):
    """An embedding whose vectors are rounded as the weights of `SimulatedLinear` are, over the whole matrix."""

    def forward(self, input: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
        scale = _scale(_largest(self.weight))
        return _steps(super().forward(input), scale) / scale


def simulate(
    model: transformers.PreTrainedModel,
    *,
    activations: Activations = "ema",
    decay: float = DECAY,
    requantize: bool = True,
) -> None:
    """Round weights and activations to 8 bits wherever the model computes, in place [Q8BERT, Zafrir et al. 2019].

    q = round(127 x / t) within +-127, t = max|W| of each matrix as it is, and of activations
    ema: a moving average of each batch's max|x|, t + (1 - decay) (max|x| - t), beginning with the first batch's and
    moving in training mode only. With it, what a text is given does not depend on the texts beside it. Training
    shorter than 1 / (1 - decay) steps hardly moves it: lower `decay`, or begin with `calibrate`.
    dynamic: max|x| of the tensor at hand, whose texts, and their padding, thus share one range.

    Linear layers of the encoder and the pooler and all embeddings are rounded, with `requantize` also what comes
    out of a linear layer; the classifier, LayerNorm, softmax and GELU are not. Gradients are straight-through. Remove
    heads and layers before. The weights and their names stay; `config.quantized` records the settings, and
    `export.load` brings such a model back. It is no faster: for that see `unwrapped`.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"quantize.simulate: decay is {decay}; it must lie in [0, 1)")
    linears = masks.linears(model, PARTS)
    for name, layer in linears.items():
        if type(layer) is not nn.Linear:
            raise ValueError(
                f"quantize.simulate: {name} is a {type(layer).__name__}, no plain linear layer; masks.unwrap or "
                "quantize.unwrapped makes it one"
            )
    for layer in linears.values():
        # The module itself changes its class, so that whoever holds it, its weights or their names need not know.
        linear = _become(layer, SimulatedLinear)
        linear.inputs = Activation(activations, decay, linear.weight.device)
        linear.outputs = Activation(activations, decay, linear.weight.device) if requantize else None
        linear.train(layer.training)
    for module in model.modules():
        if type(module) is nn.Embedding:
            _become(module, SimulatedEmbedding)
    model.config.quantized = {"activations": activations, "decay": decay, "requantize": requantize}


def simulated(model: nn.Module) -> bool:
    """Whether any layer of the model simulates 8 bits."""
    return bool(layers(model))


def layers(model: nn.Module) -> list[SimulatedLinear | SimulatedEmbedding]:
    """All layers that simulate 8 bits."""
    return [module for module in model.modules() if isinstance(module, SimulatedLinear | SimulatedEmbedding)]


def calibrate(model: transformers.PreTrainedModel, batches: Iterable[passes.Batch]) -> None:
    """Set the activations' thresholds of a simulated model to the largest |x| that these batches bring.

    With `simulate` this is quantisation after training: no weight changes, dropout is off, what was known of the
    activations is forgotten. The batches (of `data.batches`, training data) go where the model is. Padding counts as
    any token: batches cut otherwise move a threshold by a percent or so.
    """
    places = [module for module in model.modules() if isinstance(module, Activation)]
    if not places or model.config.quantized["activations"] != "ema":
        raise ValueError(
            f"quantize.calibrate: {type(model).__name__} has no thresholds to set; call quantize.simulate with "
            "activations='ema' first"
        )
    device, training, count = next(model.parameters()).device, model.training, 0
    for place in places:
        place.threshold.fill_(UNSEEN)
        place.calibrating, place.ready = True, False
    try:
        model.train(False)
        with torch.no_grad():
            for batch in batches:
                model(**{name: batch[name].to(device) for name in passes.INPUTS if name in batch})
                count += 1
    finally:
        model.train(training)
        for place in places:
            place.calibrating = False
    if not count:
        raise ValueError("quantize.calibrate: there are no batches to take thresholds from")


def unwrapped(model: Model) -> Model:
    """A copy with plain layers that hold the rounded weights, of which `dynamic` and `onnx` make integers.

    Activations are no longer rounded, and their thresholds are gone: integer inference takes ranges of its own.
    """
    plain = copy.deepcopy(model)
    for layer in layers(plain):
        with torch.no_grad():
            scale = _scale(_largest(layer.weight))
            layer.weight.copy_(_steps(layer.weight, scale) / scale)
        if isinstance(layer, SimulatedLinear):
            del layer.inputs, layer.outputs
            _become(layer, nn.Linear)
        else:
            _become(layer, nn.Embedding)
    vars(plain.config).pop("quantized", None)
    return plain


Kind = TypeVar("Kind", bound=nn.Module)


def _become(module: nn.Module, kind: type[Kind]) -> Kind:
    module.__class__ = kind
    return cast(Kind, module)


def _largest(values: Tensor) -> Scalar:
    """max|x|, with no copy of x."""
    low, high = values.detach().aminmax()
    return torch.maximum(-low, high).float()


def _scale(threshold: Scalar) -> Scalar:
    """Steps to one; the floor is for matrices of nothing but zeros, which any scale leaves as they are."""
    return LEVELS / threshold.clamp(min=1e-12)


def _steps(values: Tensor, scale: Scalar, most: float = LEVELS) -> Tensor:
    """The nearest whole number of steps, at most so many; backward as if it were values * scale."""
    steps: Tensor = _Straight.apply(values, scale, most)  # type: ignore[no-untyped-call]
    return steps


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, scale, most):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(scale)
        return (values.float() * scale).round_().clamp_(-most, most)  # bf16 would round before we do

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (scale,) = ctx.saved_tensors
        return gradient * scale, None, None

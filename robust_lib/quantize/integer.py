"""True integer inference on the CPU by torch's own kernels, and the bytes of 8-bit weights."""

import copy
import warnings
from typing import TypeVar

import torch
from torch import nn
from torch.ao.nn.quantized import dynamic as integer

from robust_lib import masks
from robust_lib.quantize import simulation

Model = TypeVar("Model", bound=nn.Module)


def dynamic(model: Model) -> Model:
    """A copy whose linear layers compute in 8-bit integers, without any training (post-training quantisation).

    Weights: w ~ s q, q in [-128, 127], s = max|w| / 127.5 of the matrix. Activations are rounded on the fly, over the
    range of each input, to 7 bits on x86 (products in its integer kernels would overflow otherwise). Embeddings,
    LayerNorm, softmax and GELU stay fp32. The copy lives on the CPU, for inference alone.
    """
    if torch.backends.quantized.engine == "none":
        raise RuntimeError(
            "quantize.dynamic: torch has no 8-bit engine switched on; set torch.backends.quantized.engine to one of "
            f"{torch.backends.quantized.supported_engines}, or use a torch that has another"
        )
    check_plain(model, "quantize.dynamic")
    with warnings.catch_warnings():
        # The successor they name, torchao, has no fast integer kernels for the CPU.
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        small: Model = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            copy.deepcopy(model).cpu(), {nn.Linear}, dtype=torch.qint8, inplace=True
        )
    return small


def size(model: nn.Module) -> int:
    """Bytes of all weights: one for each weight of a layer of 8 bits, also simulated, four for each fp32 one.

    Biases are fp32; what is simulated takes that many bytes once it is stored in 8 bits.
    """
    tensors = list(model.parameters())
    for module in model.modules():
        if isinstance(module, integer.Linear):
            tensors += [module.weight(), module.bias()]  # type: ignore[no-untyped-call]
    saved = sum(3 * layer.weight.numel() for layer in simulation.layers(model))
    return sum(tensor.nbytes for tensor in tensors) - saved


def check_plain(model: nn.Module, who: str) -> None:
    """Refuse a model whose layers are not what they compute with, in the name of the function that `who` is."""
    if any(isinstance(module, masks.MaskedLinear) for module in model.modules()):
        raise ValueError(f"{who}: the model still wears masks; call masks.unwrap first")
    if simulation.simulated(model):
        raise ValueError(f"{who}: the model simulates 8 bits; give it quantize.unwrapped(model)")

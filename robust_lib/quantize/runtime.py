"""Integer inference by ONNX Runtime, an optional dependency."""

import copy
import importlib
import inspect
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor

from robust_lib.quantize.integer import check_plain


def onnx(
    model: transformers.PreTrainedModel, *, threads: int = 1
) -> Callable[[Mapping[str, Tensor]], Float[Tensor, "batch classes"]]:
    """The model in 8-bit integers under ONNX Runtime on the CPU: a function from a batch to its logits.

    Weights are rounded for each column to 7 bits (CPUs without VNNI add products of 8 up wrongly), activations on
    the fly to 8 over the range of each tensor: as in `dynamic`, a text's logits depend a little on the texts beside
    it. The batch is what the tokenizer makes (`input_ids`, `attention_mask`, `token_type_ids`), of any size and
    length. ModuleNotFoundError where the packages are missing. `threads` of ONNX Runtime's own.
    """
    check_plain(model, "quantize.onnx")
    runtime = _package("onnxruntime", "quantize.onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.onnx"
        export(model, small)
        with _quiet():
            session = runtime.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def logits(batch: Mapping[str, Tensor]) -> Float[Tensor, "batch classes"]:
        ids = batch["input_ids"]
        # What transformers takes for an absent input: everything is text, all of the first kind.
        absent = {"attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        inputs = {name: batch.get(name, absent.get(name)).numpy() for name in names}  # type: ignore[union-attr]
        return torch.from_numpy(session.run(["logits"], inputs)[0])

    return logits


def export(model: transformers.PreTrainedModel, path: Path, *, int8: bool = True) -> None:
    """Write the model as an ONNX file, in the 8-bit integers of `onnx`, or else in fp32.

    Its inputs are those of the tokenizer that the model has, of any batch size and length, its output is `logits`.
    ModuleNotFoundError where the packages are missing.
    """
    check_plain(model, "quantize.export")
    written, quantization = (
        _package(name, "quantize.export") for name in ("onnx", "onnxruntime.quantization")
    )
    _package("onnxscript", "quantize.export")  # torch's exporter needs it
    with _quiet():
        graph = _exported(model)
        if not int8:
            written.save(graph, path)
            return
        quantization.quantize_dynamic(
            graph,
            path,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


def _package(name: str, who: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{who}: {error.name} is not installed; pip install 'robust-lib[onnx]'", name=error.name
        ) from error


def _exported(model: transformers.PreTrainedModel) -> Any:
    """The model as an ONNX graph for batches of any size and length."""
    ids = torch.ones(2, 8, dtype=torch.int64)  # of neither size 1, which the exporter would fix
    # Each a tensor of its own: the exporter takes one tensor given twice for one input.
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
    }
    inputs = {name: inputs[name] for name in inspect.signature(model.forward).parameters if name in inputs}
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    program: Any = torch.onnx.export(
        copy.deepcopy(model).cpu().train(False),
        kwargs=inputs,
        dynamo=True,
        dynamic_shapes={name: {0: batch, 1: tokens} for name in inputs},
        input_names=list(inputs),
        output_names=["logits"],
        verbose=False,
    )
    graph = program.model_proto
    del graph.graph.value_info[:]  # shapes that the quantiser's own inference then contradicts
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporter and quantiser speak of what is not installed, not needed, or deprecated inside of them."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)

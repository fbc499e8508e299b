"""ONNX files: read by ONNX Runtime, an optional dependency, on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from robust_lib import passes
from robust_lib.audit import loading
from robust_lib.audit.problems import AuditError

FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
INTEGERS = {"tensor(int64)": torch.int64, "tensor(int32)": torch.int32}


class Graph(nn.Module):
    """An ONNX file called as a transformers model is: the tokenizer's inputs in; `logits`, and `last_hidden_state`
    where it is an output, out.

    AuditError for a file whose inputs are not the tokenizer's, or without one output (texts, classes).
    """

    def __init__(self, place: str) -> None:
        super().__init__()
        self.session = _session(place)
        self.inputs = _inputs(self.session, place)
        outputs = {one.name: one.shape for one in self.session.get_outputs() if one.type in FLOATS}
        flat = [name for name, shape in outputs.items() if len(shape) == 2]
        if "logits" not in flat and len(flat) != 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
            raise AuditError(
                f"model {place}: its outputs are {listed}; one (texts, classes) is needed, under the name logits where "
                "there are several"
            )
        deep = [name for name, shape in outputs.items() if len(shape) == 3]
        self.has_states = "last_hidden_state" in deep or len(deep) == 1
        self.outputs = ["logits" if "logits" in flat else flat[0]]
        if self.has_states:
            self.outputs.append("last_hidden_state" if "last_hidden_state" in deep else deep[0])

    def forward(self, **given: Tensor) -> SimpleNamespace:
        """The outputs for a batch. What the tokenizer does not make is as transformers takes it: all text, no pairs."""
        ids = given["input_ids"]
        known = {"attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)} | given
        inputs = {name: known[name].to(dtype).numpy() for name, dtype in self.inputs.items()}
        made = [torch.from_numpy(rows) for rows in self.session.run(self.outputs, inputs)]
        return SimpleNamespace(logits=made[0], last_hidden_state=made[-1])


def _session(place: str) -> Any:
    """An ONNX Runtime session with as many threads as torch has, so that times can be compared."""
    runtime = loading.package("onnxruntime", place)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    with loading.named(place, "give a whole ONNX file, with its external data files beside it"):
        return runtime.InferenceSession(Path(place).expanduser(), options, providers=["CPUExecutionProvider"])


def _inputs(session: Any, place: str) -> dict[str, torch.dtype]:
    """The inputs by name. AuditError for those that are not the tokenizer's, and for fixed sizes."""
    shapes = {given.name: given.shape for given in session.get_inputs()}
    if not {"input_ids"} <= shapes.keys() <= set(passes.INPUTS):
        raise AuditError(
            f"model {place}: its inputs are {', '.join(shapes)}; those of the tokenizer are "
            f"{', '.join(passes.INPUTS)}: export it with these, or wrap it in a function"
        )
    sizes = {size for rows, tokens in shapes.values() for size in (tokens, rows if rows != 1 else None)}
    if fixed := [size for size in sizes if isinstance(size, int)]:
        raise AuditError(
            f"model {place}: an axis of its inputs has the fixed size {fixed[0]}; export it with dynamic axes"
        )
    return {given.name: INTEGERS[given.type] for given in session.get_inputs()}


def files(place: str) -> list[Path]:
    """The ONNX file, and the files beside it that hold weights of it. AuditError where one is not there."""
    path = Path(place).expanduser()
    if not path.is_file():
        raise AuditError(f"model {place}: there is no such file")
    with loading.named(place, "give an ONNX file"):
        graph = loading.package("onnx", place).load(path, load_external_data=False).graph
    beside = {
        entry.value for one in graph.initializer for entry in one.external_data if entry.key == "location"
    }
    if missing := [name for name in sorted(beside) if not (path.parent / name).is_file()]:
        raise AuditError(
            f"model {place}: its weights are in {missing[0]}, which is not beside it: copy it there"
        )
    return [path, *(path.parent / name for name in sorted(beside))]


def classes(place: str) -> tuple[str, ...]:
    """The class names of the config.json beside an ONNX file, () where it has none."""
    config = Path(place).expanduser().parent / "config.json"
    if not config.is_file():
        return ()
    with loading.named(str(config), "mend the file, or set labels"):
        names = json.loads(config.read_text(encoding="utf-8")).get("id2label", {})
        return tuple(str(names[index]) for index in sorted(names, key=int))

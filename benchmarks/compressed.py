"""Inference of compressed models at BERT-base shapes, interleaved with the dense model: heads, 8-bit, truncated.

A model with 28 of 144 heads masked is timed beside the one with them removed: masking saves nothing. Integer
inference, by torch and by ONNX Runtime where it is installed, is timed at batch 1 and 32 too: the paper's is 1.8x.
"""

import copy
import importlib.util
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
import transformers

from robust_lib import heads, models, quantize

ROUNDS, LENGTH, REMOVED = 7, 64, 28
Run = Callable[[torch.Tensor], object]


def seconds(run: Run, ids: torch.Tensor) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        run(ids)
    return time.perf_counter() - start


def compare(dense: Run, others: Mapping[str, Run], batch: int) -> None:
    ids = torch.randint(1000, 30000, (batch, LENGTH))
    rows = [[seconds(run, ids) for run in (dense, *others.values())] for _ in range(ROUNDS + 1)][1:]
    times = np.array(rows)
    print(f"BERT-base, batch {batch} x {LENGTH}, cpu: dense {np.median(times[:, 0]):.2f} s")
    for place, name in enumerate(others, start=1):
        ratio = times[:, 0] / times[:, place]
        print(f"  {name:19} {np.median(ratio):.2f}x as fast ({ratio.min():.2f}-{ratio.max():.2f})")


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dense = transformers.BertForSequenceClassification(transformers.BertConfig()).eval()
    chosen = heads.lowest(torch.rand(12, 12, generator=torch.Generator().manual_seed(0)), REMOVED)
    gates = torch.ones(12, 12)
    for layer, numbers in chosen.items():
        gates[layer, numbers] = 0
    masked, removed, small = copy.deepcopy(dense), copy.deepcopy(dense), quantize.dynamic(dense)
    heads.remove(removed, chosen)
    cut = models.truncate(copy.deepcopy(dense), 6)
    integers: dict[str, Run] = {"8-bit, torch": small}
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnxscript"):
        session = quantize.onnx(dense)
        integers["8-bit, ONNX Runtime"] = lambda ids: session({"input_ids": ids})
    shapes = {f"{REMOVED} heads masked": masked, f"{REMOVED} heads removed": removed, "first 6 layers": cut}
    with heads.gated(masked, gates):
        compare(dense, shapes | integers, 8)
    for batch in (1, 32):
        compare(dense, integers, batch)
    for name, model in {f"{REMOVED} heads removed": removed, "first 6 layers": cut, "8-bit": small}.items():
        print(f"{name:17} {quantize.size(model) / quantize.size(dense):.2f} of the bytes")


if __name__ == "__main__":
    main()

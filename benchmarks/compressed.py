"""Inference of compressed models at BERT-base shapes, interleaved with the dense model: heads, 8-bit, truncated.

A model with 28 of 144 heads masked is timed beside the one with them removed: masking saves nothing.
"""

import copy
import time

import numpy as np
import torch
import transformers

from robust_lib import heads, models, quantize

ROUNDS, BATCH, LENGTH, REMOVED = 7, 8, 64, 28


def seconds(model: torch.nn.Module, ids: torch.Tensor) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        model(input_ids=ids)
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dense = transformers.BertForSequenceClassification(transformers.BertConfig()).eval()
    chosen = heads.lowest(torch.rand(12, 12, generator=torch.Generator().manual_seed(0)), REMOVED)
    gates = torch.ones(12, 12)
    for layer, numbers in chosen.items():
        gates[layer, numbers] = 0
    masked, removed = copy.deepcopy(dense), copy.deepcopy(dense)
    heads.remove(removed, chosen)
    others = {
        f"{REMOVED} heads masked": masked,
        f"{REMOVED} heads removed": removed,
        "first 6 layers": models.truncate(copy.deepcopy(dense), 6),
        "8-bit": quantize.dynamic(dense),
    }
    ids = torch.randint(1000, 30000, (BATCH, LENGTH))
    with heads.gated(masked, gates):
        rows = [[seconds(model, ids) for model in (dense, *others.values())] for _ in range(ROUNDS + 1)][1:]
    times = np.array(rows)
    print(f"BERT-base, batch {BATCH} x {LENGTH}, cpu: dense {np.median(times[:, 0]):.2f} s")
    for place, (name, model) in enumerate(others.items(), start=1):
        ratio = times[:, 0] / times[:, place]
        size = quantize.size(model) / quantize.size(dense)
        print(
            f"{name:17} {np.median(ratio):.2f}x as fast ({ratio.min():.2f}-{ratio.max():.2f}), {size:.2f} of the bytes"
        )


if __name__ == "__main__":
    main()

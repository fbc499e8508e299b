"""Masking at BERT-base shapes: a masked fine-tuning step against a dense one, interleaved; packed masks on disk."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers

from robust_lib import masks

ROUNDS, BATCH, LENGTH = 6, 32, 40


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, ids: torch.Tensor) -> float:
    start = time.perf_counter()
    model(input_ids=ids).logits.square().mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if ids.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    dense = transformers.BertForSequenceClassification(transformers.BertConfig()).to(device)
    masked = transformers.BertForSequenceClassification(transformers.BertConfig()).to(device)
    layers = masks.wrap(masked)
    start = time.perf_counter()
    chosen = {name: masks.magnitude(layer.weight, 0.7) for name, layer in layers.items()}
    decide = time.perf_counter() - start
    masks.apply(layers, chosen)
    ids = torch.randint(1000, 30000, (BATCH, LENGTH), device=device)
    models = {"dense": dense, "masked": masked}
    optimizers = {
        name: torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True) for name, model in models.items()
    }
    seconds = np.array(
        [[step(models[name], optimizers[name], ids) for name in models] for _ in range(ROUNDS + 1)]
    )[1:]
    ratio = seconds[:, 1] / seconds[:, 0]
    print(f"BERT-base, batch {BATCH} x {LENGTH}, {device}: dense step {np.median(seconds[:, 0]):.2f} s")
    print(
        f"masked fine-tuning step        {np.median(ratio):.3f}x of dense ({ratio.min():.3f}-{ratio.max():.3f})"
    )
    print(f"magnitude masks of all layers  {decide:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.safetensors"
        start = time.perf_counter()
        masks.save(path, chosen)
        saved = time.perf_counter() - start
        start = time.perf_counter()
        masks.apply(layers, masks.load(path))
        applied = time.perf_counter() - start
        entries = sum(mask.numel() for mask in chosen.values())
        print(f"packed masks                   {entries:,} entries in {path.stat().st_size / 1e6:.2f} MB")
        print(f"                               saved in {saved:.2f} s, loaded and applied in {applied:.2f} s")


if __name__ == "__main__":
    main()

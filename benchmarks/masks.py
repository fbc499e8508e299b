"""Masks at BERT-base shapes: masked fine-tuning and mask training against dense fine-tuning, time and memory;
choosing masks; eight masks on one backbone; emptied parts exported; mask files.

Steps are interleaved, so that what else the machine does falls on all alike. `masks.py memory KIND PRECISION` is one
training in a process of its own, which prints its peak memory.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

from robust_lib import export, masks

ROUNDS, BATCH, LENGTH, SPARSITY, MASKS = 5, 32, 40, 0.7, 8
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KINDS = ("dense", "masked", "scored")


def made(kind: str, *, frozen: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(transformers.BertConfig()).to(DEVICE)
    if kind == "masked":
        layers = masks.wrap(model)
        masks.assign(
            layers, {name: masks.magnitude(layer.weight, SPARSITY) for name, layer in layers.items()}
        )
    if kind == "scored":
        masks.score(model, [SPARSITY], frozen=frozen)
    return model


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, precision: str = "fp32") -> None:
    ids = torch.randint(1000, 30000, (BATCH, LENGTH), device=DEVICE)
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(input_ids=ids).logits
    logits.float().square().mean().backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad()


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def steps() -> None:
    models = {kind: made(kind) for kind in KINDS}
    optimizers = {kind: optimizer_of(model) for kind, model in models.items()}
    times = np.array(
        [
            [seconds(lambda kind=kind: step(models[kind], optimizers[kind])) for kind in KINDS]
            for _ in range(ROUNDS + 1)
        ]
    )[1:]
    print(f"BERT-base, batch {BATCH} x {LENGTH}, {DEVICE}: dense step {np.median(times[:, 0]):.2f} s")
    for place, name in ((1, "masked fine-tuning step"), (2, "mask-training step")):
        ratio = times[:, place] / times[:, 0]
        print(f"{name:30} {np.median(ratio):.3f}x of dense ({ratio.min():.3f}-{ratio.max():.3f})")


def choosing() -> None:
    """A mask from its stored threshold, as at every forward pass here, against the k-th value at every forward pass."""
    layers = masks.score(made("dense"), [SPARSITY])

    def by_threshold() -> list[torch.Tensor]:
        return [layer.scores > layer.threshold for layer in layers.values()]

    def by_kthvalue() -> list[torch.Tensor]:
        flat = [layer.scores.flatten() for layer in layers.values()]
        return [scores > scores.kthvalue(round(SPARSITY * len(scores))).values for scores in flat]

    def again() -> None:
        masks.rethreshold(layers, [SPARSITY])

    with torch.no_grad():
        times = np.array(
            [[seconds(act) for act in (by_threshold, by_kthvalue, again)] for _ in range(ROUNDS)]
        )
    ours, theirs, exact = np.median(times, axis=0)
    ratio = times[:, 1] / times[:, 0]
    print(f"masks by stored thresholds     {ours:.3f} s, all matrices; exact re-thresholding {exact:.2f} s")
    print(
        f"                               a k-th value at every pass {theirs:.2f} s, {np.median(ratio):.0f}x as long "
        f"({ratio.min():.0f}-{ratio.max():.0f})"
    )


def memory(kind: str, precision: str) -> None:
    model = made(kind, frozen=torch.bfloat16 if precision == "bf16" else torch.float32)
    optimizer = optimizer_of(model)
    for _ in range(3):
        step(model, optimizer, precision)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(torch.cuda.max_memory_allocated() if DEVICE == "cuda" else peak)


def memories() -> None:
    for precision in ("fp32", "bf16"):
        peaks = {}
        for kind in ("dense", "scored"):
            command = [sys.executable, __file__, "memory", kind, precision]
            peaks[kind] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"peak memory, {precision}              mask training {peaks['scored'] / 1e9:.2f} GB, dense fine-tuning "
            f"{peaks['dense'] / 1e9:.2f} GB: {peaks['scored'] / peaks['dense']:.3f}x"
        )


def together(folder: Path) -> None:
    """Logits of eight masks: one model under all of them, against a model loaded again for each."""
    transformers.logging.disable_progress_bar()
    model = made("dense")
    model.save_pretrained(folder)
    layers = masks.linears(model)
    sets = [
        {name: masks.magnitude(layer.weight, 0.1 * (1 + place)) for name, layer in layers.items()}
        for place in range(MASKS)
    ]
    stacked = {name: torch.stack([chosen[name] for chosen in sets]) for name in layers}
    ids = torch.randint(1000, 30000, (8, LENGTH), device=DEVICE)

    def logits(chosen: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        fresh = transformers.AutoModelForSequenceClassification.from_pretrained(folder).to(DEVICE)
        masks.apply(fresh, chosen)
        with torch.inference_mode():
            return fresh(input_ids=inputs).logits

    def at_once() -> torch.Tensor:
        return logits(stacked, ids.repeat(MASKS, 1))

    def one_by_one() -> torch.Tensor:
        return torch.cat([logits(chosen, ids) for chosen in sets])

    torch.testing.assert_close(at_once(), one_by_one(), rtol=1e-3, atol=1e-4)
    times = np.array([[seconds(act) for act in (at_once, one_by_one)] for _ in range(3)])
    ratio = times[:, 0] / times[:, 1]
    print(
        f"{MASKS} masks on one backbone       {np.median(times[:, 0]):.2f} s, loaded {MASKS} times "
        f"{np.median(times[:, 1]):.2f} s: {np.median(ratio):.2f}x ({ratio.min():.2f}-{ratio.max():.2f})"
    )


def exported(folder: Path) -> None:
    """A third of the heads and half of the FFN units empty: the model with zeros in place against the smaller one."""
    model = made("dense").eval()
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.attention.output.dense.weight[:, : 4 * 64] = 0
            layer.output.dense.weight[:, : 3072 // 2] = 0
    record = export.smaller(model, folder / "smaller")
    small = export.load(folder / "smaller").to(DEVICE)
    ids = torch.randint(1000, 30000, (8, 64), device=DEVICE)
    with torch.inference_mode():
        torch.testing.assert_close(
            small(input_ids=ids).logits, model(input_ids=ids).logits, rtol=1e-3, atol=1e-4
        )
        pair = (model, small)
        times = np.array([[seconds(lambda one=one: one(input_ids=ids)) for one in pair] for _ in range(10)])[
            1:
        ]
    ratio = times[:, 0] / times[:, 1]
    print(
        f"emptied parts exported         {record.bytes[0] / 1e6:.0f} MB to {record.bytes[1] / 1e6:.0f} MB, "
        f"8 x 64 tokens in {np.median(times[:, 0]):.2f} s and {np.median(times[:, 1]):.2f} s: "
        f"{np.median(ratio):.2f}x as fast ({ratio.min():.2f}-{ratio.max():.2f})"
    )


def files(folder: Path) -> None:
    model, path = made("dense"), folder / "mask.safetensors"
    layers = masks.linears(model)
    start = time.perf_counter()
    chosen = {name: masks.magnitude(layer.weight, SPARSITY) for name, layer in layers.items()}
    print(f"magnitude masks of all layers  {time.perf_counter() - start:.2f} s")
    fingerprint = seconds(lambda: masks.fingerprint(model, chosen))
    saved = seconds(lambda: masks.save(path, chosen, model=model))
    applied = seconds(lambda: masks.apply(model, path))
    entries = sum(mask.numel() for mask in chosen.values())
    print(f"mask file                      {entries:,} entries in {path.stat().st_size / 1e6:.2f} MB")
    print(
        f"                               saved in {saved:.2f} s, checked and applied in {applied:.2f} s, of both "
        f"the fingerprint {fingerprint:.2f} s"
    )


def main() -> None:
    memories()  # first: a child process counts its parent's peak as its own
    steps()
    choosing()
    with tempfile.TemporaryDirectory() as folder:
        together(Path(folder))
        exported(Path(folder))
        files(Path(folder))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["memory"]:
        memory(*sys.argv[2:])
    else:
        main()

"""Rebuild the shipped encoders: `python -m robust_lib.micro.build [name ...]`.

Data, masks, initial weights and order of batches are bit-exact from the seeds. Trained weights are bit-exact
on the same processor and torch with one thread (the default here); elsewhere sums of floats round differently
and training drifts apart, so rebuilt weights are equivalent, not equal. Seconds in `pretraining.json` are of
the machine that ran.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import BertForPreTraining

from robust_lib.micro import distillation, family, pretraining, tokenizer
from robust_lib.micro.family import FAMILY
from robust_lib.micro.pretraining import Progress


def save(name: str, model: BertForPreTraining, progress: list[Progress], target: Path) -> None:
    """Half-precision weights, tokenizer and the record of training as a plain transformers directory."""
    model.to(dtype=torch.float16).save_pretrained(target)  # type: ignore[call-arg]
    tokenizer.build().save_pretrained(target)
    last = progress[-1]
    record = {
        "name": name,
        **asdict(FAMILY[name]),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "seconds": round(last.seconds, 1),
        "mlm_loss": round(last.mlm_loss, 4),
        "nsp_accuracy": round(last.nsp_accuracy, 4),
        "torch": torch.__version__,
        "progress": [[p.step, round(p.mlm_loss, 3), round(p.nsp_accuracy, 3)] for p in progress],
    }
    (target / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")


def build(name: str, weights: Path = family.WEIGHTS) -> None:
    """Train one encoder of the family and save it; a student needs its teacher built."""
    encoder = FAMILY[name]
    make = distillation.distil if encoder.teacher else pretraining.pretrain
    model, progress = make(encoder)
    save(name, model, progress, weights / name)


def main() -> None:
    """Build the named encoders, or all, and print the progress of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FAMILY)}; default: all, in this order")
    parser.add_argument("--weights", type=Path, default=family.WEIGHTS, help="folder to write into")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names or FAMILY:
        print(name, flush=True)
        build(name, arguments.weights)


if __name__ == "__main__":
    main()

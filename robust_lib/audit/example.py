"""A model to audit, made in a minute: one classifier compressed in four ways, and the data to audit them with.

`python -m robust_lib.audit FOLDER` makes it of the micro world, with `--source DATA --encoder NAME` of real
data and a pretrained encoder. The real texts are copied into FOLDER then, so keep it where the data may be.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib.util
import os
import shutil
import sys
import time
import uuid
from pathlib import Path

import filelock
import torch
import transformers

from robust_lib import data, masks, methods, models, objectives, quantize, runs, train
from robust_lib.runs import reach

SPARSITY = 0.5
PREFIX = "example/"  # of what parameters name in it
PARTS = "original, second, student, pruned, int8/model.onnx, mask.safetensors, test.csv, ood.csv, train.csv"


def build(
    folder: Path,
    *,
    source: str = "micro",
    encoder: str = "micro-base",
    task: str = "sst2",
    ood: str | None = "imdb/test",
    train_size: int = 3000,
    test_size: int | None = 500,
    recipe: train.Recipe | None = None,
) -> Path:
    """Train and compress into `folder`, and return it: as many trainings as it has directories, on one task.

    original/, and second/ from another seed; student/ of half the layers, distilled; pruned/, half of its weights
    removed by magnitude and trained on; int8/, the original in 8 bits as model.onnx (left out where ONNX Runtime is
    not installed); mask.safetensors, half of the original's weights and no training on. test.csv, ood.csv and
    train.csv have the text columns, label, and `length` in words. The same arguments make the same models.
    """
    recipe = recipe or train.Recipe(epochs=4, learning_rate=3e-4, batch_size=32, max_length=64, warmup=0.1)
    whole = models.Encoder(encoder)
    layers, _ = whole.shape()
    half = models.Encoder(encoder, layers=layers // 2)
    known = data.TASKS[task]
    split = data.Split(task, known.train, source, train_size)
    original = methods.finetuned(encoder=whole, split=split, recipe=recipe, seed=0)
    taught = methods.predicted(model=original, encoder=whole, split=split, max_length=recipe.max_length)
    made = {
        "original": original,
        "second": methods.finetuned(encoder=whole, split=split, recipe=recipe, seed=1),
        "student": methods.finetuned(
            encoder=half,
            split=split,
            recipe=recipe,
            start=copy.deepcopy(original),
            objective=objectives.distil,
            given={"teacher": taught},
        ),
        "pruned": methods.imp(
            encoder=whole,
            split=split,
            recipe=recipe,
            start=copy.deepcopy(original),
            sparsity=SPARSITY,
            schedule="stepwise",
            seed=1000,
        ),
    }
    for name, model in made.items():
        model.cpu().save_pretrained(folder / name)
        whole.tokenizer().save_pretrained(folder / name)
    _quantised(original, whole, folder / "int8")
    _masked(original, task, folder / "mask.safetensors")
    _table(split, folder / "train.csv", split.text)
    _table(
        data.Split(task, known.in_distribution[0].path, source, test_size), folder / "test.csv", split.text
    )
    if ood is not None:
        owner = data.tasks.dataset(ood).task
        _table(data.Split(owner, ood, source, test_size), folder / "ood.csv", split.text)
    return folder


def made() -> str:
    """The folder of the micro example, made at the first call: a unit, which `audit.example_of` asks for."""
    return place("")


def place(name: str) -> str:
    """The path of a part of the micro example, "example/student" or "example/test.csv", made at the first call.

    It is kept under the store's folder, and made anew where the code or a package that makes it has changed.
    """
    base = Path(os.environ.get("ROBUST_STORE") or runs.home() / "runs" / "store").expanduser().resolve()
    made = base / f"audit_example-{_digest()}"
    base.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(base / ".audit_example.lock"):
        if not made.is_dir():
            print(f"making the example in {made}, once: about a minute", file=sys.stderr, flush=True)
            aside = base / f"audit_example-{uuid.uuid4().hex[:8]}.partial"
            try:
                build(aside).replace(made)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return str(made / name.removeprefix(PREFIX))


def _digest() -> str:
    """What the micro example depends on."""
    parts = (
        reach.code_digest(__name__, "build"),
        models.Encoder("micro-base").fingerprint(),
        data.Split("sst2", "sst2/train", "micro", 100).fingerprint(),  # of the world that writes the texts
        (torch.__version__, transformers.__version__, importlib.util.find_spec("onnxruntime") is not None),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _quantised(model: transformers.PreTrainedModel, encoder: models.Encoder, folder: Path) -> None:
    folder.mkdir()
    try:
        quantize.export(model, folder / "model.onnx")
    except ModuleNotFoundError:
        folder.rmdir()
        return
    model.config.save_pretrained(folder)
    encoder.tokenizer().save_pretrained(folder)


def _masked(model: transformers.PreTrainedModel, task: str, path: Path) -> None:
    layers = masks.linears(model)
    found = {name: masks.magnitude(layer.weight, SPARSITY) for name, layer in layers.items()}
    masks.save(path, found, model=model, task=task)


def _table(split: data.Split, path: Path, text: tuple[str, ...]) -> None:
    """A split as csv, under the names `text` of its text columns."""
    frame = split.frame().rename(columns=dict(zip(split.text, text, strict=True)))
    words = frame[list(text)].agg(" ".join, axis="columns").str.split().map(len)
    frame[[*text, "label"]].assign(length=words).to_csv(path, index=False)


def main() -> None:
    """Make an example from the command line, and say what is in it."""
    parser = argparse.ArgumentParser(
        prog="python -m robust_lib.audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--source", default="micro", help="micro, hub or a data directory")
    parser.add_argument(
        "--encoder", default="micro-base", help="a name of models.HUB, a directory or a hub id"
    )
    parser.add_argument("--task", default="sst2", choices=[name for name in data.TASKS if name != "squad"])
    parser.add_argument("--ood", default="imdb/test", help="a split of the same columns and classes, or none")
    parser.add_argument("--train-size", type=int, default=3000)
    parser.add_argument("--test-size", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--max-length", type=int, default=64)
    given = parser.parse_args()
    recipe = train.Recipe(given.epochs, given.learning_rate, 32, given.max_length, warmup=0.1)
    given.folder.mkdir(parents=True)
    start = time.monotonic()
    build(
        given.folder,
        source=given.source,
        encoder=given.encoder,
        task=given.task,
        ood=None if given.ood == "none" else given.ood,
        train_size=given.train_size,
        test_size=given.test_size,
        recipe=recipe,
    )
    print(f"{given.folder}: {PARTS} ({time.monotonic() - start:.0f} s)")

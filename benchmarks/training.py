"""Fine-tuning throughput and memory against transformers' Trainer: same encoder, data, optimiser, batch size.

Text has MNLI's lengths (tokens of premise and hypothesis: log-normal, median 34, mean 38, at most 128). Times are
taken interleaved in one process, an epoch each in turn, at a size at which both sides sort pools of as many
examples by length; peak memory in a process of its own each.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import torch
import transformers
from torch import Tensor

from robust_lib import data, losses, train

BATCH, LABELS = 32, ("entailment", "neutral", "contradiction")
PEERS = ("ours", "trainer, length grouping", "trainer, padded to 128")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def encoder() -> transformers.PreTrainedModel:
    """BERT-tiny's shape on a CPU (2 layers of 128), BERT-base's on a GPU, at random."""
    small = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
    shape = {} if torch.cuda.is_available() else small
    torch.manual_seed(0)
    names = dict(enumerate(LABELS))
    config = transformers.BertConfig(
        **shape, id2label=names, label2id={label: i for i, label in names.items()}
    )
    return transformers.BertForSequenceClassification(config)


def examples(count: int) -> data.Encoded:
    draw = np.random.default_rng(0)
    lengths = np.clip(np.exp(draw.normal(3.524, 0.485, count)), 5, 128).astype(int)
    tokens = draw.integers(1000, 30000, lengths.sum()).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    inputs = {"input_ids": tokens, "token_type_ids": np.zeros_like(tokens)}
    return data.Encoded(inputs, dict.fromkeys(inputs, 0), starts, draw.integers(0, 3, count), LABELS)


class Rows(torch.utils.data.Dataset[dict[str, object]]):
    """The same examples as the Trainer wants them."""

    def __init__(self, encoded: data.Encoded) -> None:
        spans = zip(encoded.starts[:-1], encoded.starts[1:], strict=True)
        self.rows = [
            {
                "input_ids": encoded.tokens["input_ids"][a:b],
                "token_type_ids": encoded.tokens["token_type_ids"][a:b],
                "label": int(gold),
            }
            for (a, b), gold in zip(spans, encoded.gold, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.rows[index]


def collate(rows: list[dict[str, object]], width: int | None) -> dict[str, Tensor]:
    longest = width or max(len(row["input_ids"]) for row in rows)
    batch = {
        name: torch.zeros(len(rows), longest, dtype=torch.long)
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    for place, row in enumerate(rows):
        length = len(row["input_ids"])
        batch["input_ids"][place, :length] = torch.from_numpy(row["input_ids"])
        batch["attention_mask"][place, :length] = 1
    return batch | {"labels": torch.tensor([row["label"] for row in rows])}


def run(peer: str, model: transformers.PreTrainedModel, encoded: data.Encoded) -> None:
    """One epoch over the examples."""
    if peer == "ours":
        train.fit(
            model,
            encoded,
            lambda logits, batch: losses.ce(logits, batch["labels"]),
            epochs=1,
            batch_size=BATCH,
            learning_rate=2e-5,
        )
        return
    grouped = peer == "trainer, length grouping"
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=2e-5,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            train_sampling_strategy="group_by_length" if grouped else "random",
            dataloader_pin_memory=False,
        )
        peer_trainer = transformers.Trainer(
            model,
            arguments,
            train_dataset=Rows(encoded),
            data_collator=lambda rows: collate(rows, None if grouped else 128),
        )
        peer_trainer.remove_callback(transformers.PrinterCallback)
        peer_trainer.train()


def peak(peer: str, count: int) -> float:
    """Peak memory of one epoch in a fresh process, in MiB: of the GPU where there is one, else of the process."""
    command = [sys.executable, __file__, "--memory", peer, "--examples", str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=6400, help="per block: both sort pools of 1,600")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    encoded = examples(options.examples)
    if options.memory:
        run(options.memory, encoder(), encoded)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else used)
        return
    # First: a process starts with the peak of the one that started it.
    memory = {peer: peak(peer, options.examples) for peer in PEERS}
    torch.set_num_threads(1)
    model = encoder()
    seconds = {peer: [] for peer in PEERS}
    for _ in range(options.rounds + 1):
        for peer in PEERS:
            start = time.perf_counter()
            run(peer, model, encoded)
            seconds[peer].append(time.perf_counter() - start)
    ours = np.array(seconds["ours"][1:])  # the first round warms up
    print(f"fine-tuning on {options.examples} pairs, {options.rounds} rounds interleaved")
    print(f"{'':26}{'pairs/s':>8}{'time of ours':>14}{'(range)':>14}{'peak MiB':>10}{'of ours':>9}")
    for peer in PEERS:
        ratio = np.array(seconds[peer][1:]) / ours
        speed, spread = (
            options.examples / np.median(seconds[peer][1:]),
            f"({ratio.min():.2f}-{ratio.max():.2f})",
        )
        share = memory["ours"] / memory[peer]
        print(f"{peer:26}{speed:8.1f}{np.median(ratio):13.2f}x{spread:>14}{memory[peer]:10.0f}{share:8.2f}x")


if __name__ == "__main__":
    main()

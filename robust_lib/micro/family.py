"""The family of micro encoders, shaped after the papers' BERT family."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
POSITIONS = 64  # tokens; the longest pair of any split has fewer


@dataclass(frozen=True)
class Encoder:
    """Shape and origin of one encoder. `teacher` and `objective` are set for distilled ones."""

    layers: int
    hidden: int
    heads: int
    seed: int = 0
    steps: int = 1500
    teacher: str = ""
    # or "distilbert" (Sanh et al. 2019), "minilm" (Wang et al. 2020), "tinybert" (Jiao et al. 2020)
    objective: str = "mlm+nsp"


# Large is wider, not deeper: six layers of 128 did not learn next sentence, at peak rates of 1e-3 and of 5e-4.
FAMILY: dict[str, Encoder] = {
    "micro-base": Encoder(4, 128, 4),
    "micro-base-seed1": Encoder(4, 128, 4, seed=1),
    "micro-base-seed2": Encoder(4, 128, 4, seed=2),
    "micro-large": Encoder(4, 144, 4),
    "micro-medium": Encoder(3, 96, 3, steps=2000),
    "micro-mini": Encoder(4, 64, 2, steps=2000),
    "micro-tiny": Encoder(2, 64, 2, steps=2000),
    "micro-distil": Encoder(2, 128, 4, steps=800, teacher="micro-base", objective="distilbert"),
    "micro-minilm": Encoder(2, 128, 4, teacher="micro-base", objective="minilm"),
    "micro-tinybert": Encoder(2, 128, 4, teacher="micro-base", objective="tinybert"),
    "micro-half": Encoder(2, 128, 4, steps=2000),  # of half the depth of base, pretrained by itself
}


def directory(name: str) -> Path:
    """Folder of a shipped encoder, for `from_pretrained`: config.json, model.safetensors (fp16), tokenizer.json.

    Raises ValueError for a name outside `FAMILY`, FileNotFoundError where the weights are not built.
    """
    if name not in FAMILY:
        raise ValueError(f"no micro encoder {name!r}; there are {', '.join(FAMILY)}")
    path = WEIGHTS / name
    if not (path / "model.safetensors").exists():
        raise FileNotFoundError(
            f"{path} has no weights; `python -m robust_lib.micro.build {name}` makes them"
        )
    return path

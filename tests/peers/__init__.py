"""TextAttack as an oracle of `robust_lib.attack`, and the small real victim that both attack.

TextAttack lives in an environment of its own (`make peers`), so it is reached through a process: a specification
goes in as JSON and outcomes come back, as `textattack_peer.py` says.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from robust_lib import attack, data, models, train
from robust_lib.attack import bertattack, lexica, textfooler, victims
from robust_lib.attack.language import Language
from robust_lib.attack.lexica import Words
from robust_lib.methods import training

HERE = Path(__file__).parent
PYTHON = HERE / ".venv" / "bin" / "python"
CACHE = HERE / ".venv" / "textattack"
COLUMNS = {1: ["text"], 2: ["premise", "hypothesis"]}  # TextAttack's recipe protects "premise"
MISSING = "TextAttack is not installed: `make peers` does"
EXAMPLES, RECIPE = 512, train.Recipe(epochs=3, learning_rate=2e-4, batch_size=32, max_length=64)
TRAIN = {"mnli": "mnli/train_subset", "imdb": "imdb/train"}


def victim(
    folder: Path,
    *,
    source: str,
    encoder: str,
    task: str = "mnli",
    layers: int | None = None,
    seed: int = 0,
) -> Path:
    """A directory with the encoder and its tokenizer, fine-tuned on a few hundred examples of MNLI or IMDB."""
    start = models.Encoder(encoder, layers=layers)
    split = data.Split(task, TRAIN[task], source, EXAMPLES, seed)
    training.finetuned(encoder=start, split=split, recipe=RECIPE, seed=seed).save_pretrained(folder)
    start.tokenizer().save_pretrained(folder)
    return folder


def masked_lm(folder: Path, *, encoder: str, layers: int | None = None) -> Path:
    """A directory with the encoder as a masked language model whose new head passes the encoder's states on.

    It is not trained. As a BERT's states stay near the embeddings of the pieces that they are of, it proposes what is
    near in these: for "boring" itself, "bored", "interesting", "dull".
    """
    start = models.Encoder(encoder, layers=layers)
    model = start.masked_lm(seed=0)
    dense = model.cls.predictions.transform.dense
    torch.nn.init.eye_(dense.weight)
    torch.nn.init.zeros_(dense.bias)
    model.save_pretrained(folder)
    start.tokenizer().save_pretrained(folder)
    return folder


def examples(folder: Path, source: str) -> tuple[list[attack.Text], list[int]]:
    """The pairs of the published attack set on MNLI and the indices of their classes for the victim of `folder`."""
    classes = transformers.AutoConfig.from_pretrained(folder).label2id
    frame = data.Split("mnli", "attack_sets/mnli_matched", source).frame()
    texts: list[attack.Text] = list(zip(frame["premise"], frame["hypothesis"], strict=True))
    return texts, [classes[label] for label in frame["label"]]


def reviews(folder: Path, source: str, *, words: int, texts: int) -> tuple[list[attack.Text], list[int]]:
    """The beginnings of reviews of IMDB's test set and the indices of their classes for the victim of `folder`."""
    classes = transformers.AutoConfig.from_pretrained(folder).label2id
    frame = data.Split("imdb", "imdb/test", source, texts, 0).frame()
    beginnings = [(" ".join(text.split(" ")[:words]),) for text in frame["text"]]
    return beginnings, [classes[label] for label in frame["label"]]


def oracle(folder: Path, max_length: int) -> attack.Oracle:
    """The victim of `folder`, on the CPU, where TextAttack is too."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = models.Encoder(str(folder)).tokenizer()
    device = torch.device("cpu")
    return victims.classifier(model, tokenizer, max_length=max_length, device=device)


def ours(
    victim: attack.Oracle, texts: Sequence[attack.Text], gold: Sequence[int], *, source: str
) -> list[attack.Attacked]:
    """What becomes of the last column of each text in `textattack` mode, without a sentence encoder."""
    words, mode = Words(source), textfooler.MODES["textattack"]
    attacks = {
        place: textfooler.textfooler(text, right, column=len(text) - 1, words=words, mode=mode)
        for place, (text, right) in enumerate(zip(texts, gold, strict=True))
    }
    return list(attack.run(attacks, {"victim": victim}, originals=dict(enumerate(texts)))[0].values())


def language(folder: Path, max_length: int, *, k: int) -> Language:
    """The masked language model of `folder`, on the CPU."""
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = models.Encoder(str(folder)).tokenizer()
    return Language(model, tokenizer, k=k, max_length=max_length, device=torch.device("cpu"))


def our_bertattack(
    victim: attack.Oracle, language: Language, texts: Sequence[attack.Text], gold: Sequence[int]
) -> list[attack.Attacked]:
    """What becomes of each text in `textattack` mode with the k of `language`, without a sentence encoder."""
    words, mode = Words(), bertattack.MODES["textattack"]
    attacks = {
        place: bertattack.bertattack(
            text, right, column=0, words=words, language=language, mode=mode, k=language.k
        )
        for place, (text, right) in enumerate(zip(texts, gold, strict=True))
    }
    oracles = {"victim": victim, **language.oracles}
    return list(attack.run(attacks, oracles, originals=dict(enumerate(texts)))[0].values())


def theirs(
    folder: Path,
    texts: Sequence[attack.Text],
    gold: Sequence[int],
    *,
    source: str,
    max_length: int | None,
) -> dict[str, Any]:
    """The result of TextAttack's TextFooler on the same, as `textattack_peer.py` describes it."""
    words, mode = Words(source), textfooler.MODES["textattack"]
    known = json.loads((Path(source) / lexica.LIST).read_text(encoding="utf-8"))
    neighbours = {word: words.neighbours(word, cosine=mode.cosine) for word in known}
    own = {"recipe": "textfooler", "neighbours": neighbours}
    return _outcome(own | _victim_spec(folder, texts, gold, max_length), source)


def their_bertattack(
    folder: Path,
    language: Path,
    texts: Sequence[attack.Text],
    gold: Sequence[int],
    *,
    source: str,
    max_length: int | None,
    k: int | None,
) -> dict[str, Any]:
    """The result of TextAttack's BERT-Attack with the masked language model and tokenizer of `language`.

    `k` candidates per sub-word; None: the recipe's own. In the form that `textattack_peer.py` describes.
    """
    own = {"recipe": "bert-attack", "language": str(language), "max_candidates": k}
    return _outcome(own | _victim_spec(folder, texts, gold, max_length), source)


def _victim_spec(
    folder: Path, texts: Sequence[attack.Text], gold: Sequence[int], max_length: int | None
) -> dict[str, Any]:
    return {
        "model": str(folder),
        "max_length": max_length,
        "columns": COLUMNS[len(texts[0])],
        "texts": texts,
        "gold": gold,
    }


def _outcome(spec: dict[str, Any], source: str) -> dict[str, Any]:
    """What the peer makes of a specification, in its own environment with the word lists of `source`."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / "post_install_check_3").touch()  # or TextAttack would download lexica on its first import
    surroundings = {
        "NLTK_DATA": str(Path(source).resolve() / "lexica" / "nltk_data"),
        "TA_CACHE_DIR": str(CACHE),
        "FLAIR_CACHE_ROOT": str(CACHE),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory() as exchange:
        given, result = Path(exchange) / "spec.json", Path(exchange) / "result.json"
        given.write_text(json.dumps(spec))
        command = [str(PYTHON), str(HERE / "textattack_peer.py"), str(given), str(result)]
        environment = os.environ | surroundings
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{HERE / 'textattack_peer.py'}: {done.stderr[-2000:]}")
        outcome: dict[str, Any] = json.loads(result.read_text())
    return outcome

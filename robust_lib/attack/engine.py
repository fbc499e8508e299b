"""Hundreds of attacks at once: one scheduler that shares the forward passes of all the attacks under way.

An attack is a generator. It yields the texts it wants numbers for, is sent the numbers, and returns what came out:

    def delete_one(text: Text, gold: int) -> Attack:
        words = text[0].split()
        shorter = [(" ".join(words[:i] + words[i + 1 :]),) for i in range(len(words))]
        rows = yield Ask("victim", shorter)
        least = rows[:, gold].argmin()
        done = rows[least].argmax() != gold
        return Outcome("success" if done else "failed", shorter[least], changed=1, queries=len(shorter))

It is written as if it were alone. With oracles whose numbers for a text depend on that text alone (those of `victims`
do) every attack ends as if it had been, however many run beside it, in whatever order and batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Text = tuple[
    str, ...
]  # an example's text columns in the encoder's order: (premise, hypothesis) or (sentence,)
Rows = NDArray[np.float64]  # (texts, numbers): probabilities of a victim, unit vectors of a sentence encoder
K = TypeVar("K", bound=Hashable)

VICTIM = "victim"  # the oracle whose rows are probabilities and whose queries count
SLACK = 0.02  # of the sum of a victim's row: an endpoint may round its probabilities to two decimals
KEPT = 65_536  # rows of each oracle kept between rounds, and numbers in them (512 MiB); the oldest go first
KEPT_NUMBERS = 2**26


class Oracle(Protocol):
    """Whoever answers texts with numbers: a victim, a sentence encoder."""

    def __call__(self, texts: Sequence[Text]) -> Rows:
        """One row per text, in their order."""
        ...

    def lengths(self, texts: Sequence[Text]) -> Sequence[int]:
        """What each text costs, in tokens: batches are packed by it."""
        ...


@dataclass(frozen=True)
class Ask:
    """What an attack yields; it is sent the rows, in the texts' order. `oracle` is a key of `run`'s oracles."""

    oracle: str
    texts: Sequence[Text]


@dataclass(frozen=True)
class Outcome:
    """What an attack returns. skipped: the victim was wrong already. `text` is the last text.

    `changed` counts the words that differ from the original, `queries` what the recipe calls queries.
    """

    status: Literal["success", "failed", "skipped"]
    text: Text
    changed: int
    queries: int


Attack = Generator[Ask, Rows, Outcome]


@dataclass(frozen=True)
class Attacked:
    """What became of an example: the fields of its `Outcome`, and

    calls: distinct texts the attack had the victim score, whether or not another attack had them scored before.
    budget: the next ask would have gone beyond the query budget. error: an oracle failed on one of its texts, and
    `error` says how. How far such an attack had come is its own knowledge, so `text` is then the original, `changed`
    0, and `queries` the texts of the victim that it was answered.
    """

    status: Literal["success", "failed", "skipped", "budget", "error"]
    text: Text
    changed: int
    queries: int
    calls: int
    error: str = ""


def _ignore(key: Hashable, attacked: Attacked) -> None:
    """What happens at the end of each attack unless the caller says otherwise."""


def run(
    attacks: Mapping[K, Attack],
    oracles: Mapping[str, Oracle],
    *,
    originals: Mapping[K, Text],
    tokens: int = 8192,
    at_once: int = 256,
    budget: int | None = None,
    finished: Callable[[K, Attacked], None] = _ignore,
) -> tuple[dict[K, Attacked], Counter[str]]:
    """Run all attacks, at most `at_once` of them side by side; what became of each, in the order of `attacks`, and
    how many texts each oracle was really given and answered.

    In every round the texts that the running attacks wait for are gathered, those already known in this run and
    those asked for twice left out, and the rest goes to the oracle in batches of similar length, each at most
    `tokens` long (rows times longest; a single text may be longer). `attacks` may make its generators when they are
    looked up: each key is, once, when its turn comes. `finished` hears of each attack as it ends. `budget` is the
    most texts an attack may ask of "victim", counted as it asks them.

    A batch on which an oracle raises, gives other than one row of finite numbers for each text, or runs out of memory
    (then `tokens` becomes half of that batch, for good) is halved and tried again; a single text that still fails
    ends the attacks that wait for it with status "error", and no others. An exception of an attack itself is raised
    with a note that names its key. ValueError for an ask of an unknown oracle, NoProbabilities for rows of "victim"
    that are none; TypeError for an attack that yields or returns something else.
    """
    if tokens < 1 or at_once < 1:
        raise ValueError(f"attack.run: tokens {tokens} and at_once {at_once}; both are whole numbers above 0")
    desks = {name: _Desk(name, oracle, tokens) for name, oracle in oracles.items()}
    waiting, running = iter(attacks), list[_Running[K]]()
    ended: dict[K, Attacked] = {}
    while True:
        for key in islice(waiting, at_once - len(running)):
            running.append(_Running(key, attacks[key], originals[key], budget))
        if not running:
            break
        for name, desk in desks.items():
            desk.answer(text for one in running if one.ask.oracle == name for text in one.ask.texts)
        for one in running:
            attacked = one.step(desks)
            if attacked is not None:
                ended[one.key] = attacked
                finished(one.key, attacked)
        running = [one for one in running if one.key not in ended]
        for desk in desks.values():
            desk.forget()
    return {key: ended[key] for key in attacks}, Counter(
        {name: desk.answered for name, desk in desks.items()}
    )


_START = Ask("", ())  # of an attack that has not asked yet


@dataclass
class _Running(Generic[K]):
    """An attack under way: what it waits for, and what it has been answered so far."""

    key: K
    attack: Attack
    original: Text
    budget: int | None
    ask: Ask = _START
    queries: int = 0
    scored: set[Text] = field(default_factory=set)

    def step(self, desks: Mapping[str, _Desk]) -> Attacked | None:
        """Hand the attack what it waits for; what became of it, once it has ended."""
        rows = None
        if self.ask is not _START:
            desk = desks[self.ask.oracle]
            if error := desk.fault(self.ask.texts):
                return self._stopped("error", error)
            rows = desk.rows(self.ask.texts)
            if self.ask.oracle == VICTIM:
                self.queries += len(self.ask.texts)
                self.scored.update(self.ask.texts)
        try:
            self.ask = next(self.attack) if rows is None else self.attack.send(rows)
        except StopIteration as stop:
            return self._outcome(stop.value)
        except Exception as error:
            error.add_note(f"in the attack of example {self.key!r}")
            raise
        self._check(desks)
        more = len(self.ask.texts) if self.ask.oracle == VICTIM else 0
        over = self.budget is not None and self.queries + more > self.budget
        return self._stopped("budget") if over else None

    def _outcome(self, outcome: object) -> Attacked:
        if not isinstance(outcome, Outcome):
            raise TypeError(f"the attack of example {self.key!r} returned {outcome!r}, not an Outcome")
        return Attacked(**vars(outcome), calls=len(self.scored))

    def _stopped(self, status: Literal["budget", "error"], error: str = "") -> Attacked:
        self.attack.close()
        return Attacked(status, self.original, 0, self.queries, len(self.scored), error)

    def _check(self, desks: Mapping[str, _Desk]) -> None:
        """A text that is a plain string would be taken for columns of one letter each."""
        who = f"the attack of example {self.key!r}"
        if not isinstance(self.ask, Ask) or not all(isinstance(text, tuple) for text in self.ask.texts):
            raise TypeError(f"{who} yielded {self.ask!r}, not an Ask of texts that are tuples of strings")
        if self.ask.oracle not in desks:
            raise ValueError(f"{who} asks {self.ask.oracle!r}; the oracles are {', '.join(desks)}")


class NoProbabilities(ValueError):
    """Rows of a victim that are negative or do not sum to one: no fault of a text, but of what the victim is."""


class _Desk:
    """An oracle, what it has answered in this run, and how many tokens it is given in a batch."""

    def __init__(self, name: str, oracle: Oracle, tokens: int) -> None:
        self.name, self.oracle, self.tokens = name, oracle, tokens
        self.answered = 0
        self.known: dict[Text, Rows] = {}
        self.failed: dict[Text, str] = {}  # in this round
        self.lengths: dict[Text, int] = {}  # in this round
        self.width: int | None = None  # numbers in a row

    def answer(self, texts: Iterable[Text]) -> None:
        """Ask the oracle for what is not known yet: each text is `known` afterwards, or has `failed`."""
        self.failed, self.lengths = {}, {}
        self._halving([text for text in dict.fromkeys(texts) if text not in self.known], len, self._measure)
        longest_first = sorted(self.lengths, key=lambda text: -self.lengths[text])
        self._halving(longest_first, self._fitting, self._score)

    def fault(self, texts: Iterable[Text]) -> str:
        """How the oracle failed on the first of these texts that it failed on, if on any."""
        return next((self.failed[text] for text in texts if text in self.failed), "") if self.failed else ""

    def rows(self, texts: Sequence[Text]) -> Rows:
        """The rows of texts that are known, in their order; the caller's own."""
        return np.stack([self.known[text] for text in texts]) if texts else np.empty((0, self.width or 0))

    def forget(self) -> None:
        """Let go of the oldest rows beyond `KEPT` and `KEPT_NUMBERS`, between rounds: nobody waits for them."""
        most = min(KEPT, KEPT_NUMBERS // max(1, self.width or 0))
        for text in list(islice(self.known, max(0, len(self.known) - most))):
            del self.known[text]

    def _halving(
        self, texts: list[Text], fitting: Callable[[list[Text]], int], act: Callable[[list[Text]], None]
    ) -> None:
        """Act on the first so many that fit, and so on to the last; halve what fails, down to the text to blame."""
        pieces = [texts]
        while pieces:
            piece = pieces.pop()
            if not piece:
                continue
            end = fitting(piece)
            batch, rest = piece[:end], piece[end:]
            pieces.append(rest)
            try:
                act(batch)
            except NoProbabilities:
                raise
            except Exception as error:  # whatever an oracle raises is its answer
                if len(batch) == 1:
                    told = f"{type(error).__name__}: {error}"
                    self.failed[batch[0]] = f"oracle {self.name!r} failed on {batch[0]!r}: {told}"
                else:
                    pieces += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]

    def _fitting(self, piece: list[Text]) -> int:
        """How many of these texts, longest first, make a batch."""
        return max(1, self.tokens // max(1, self.lengths[piece[0]]))

    def _measure(self, batch: list[Text]) -> None:
        self.lengths |= dict(zip(batch, self.oracle.lengths(batch), strict=True))  # all of them or none

    def _score(self, batch: list[Text]) -> None:
        try:
            given = self.oracle(batch)
        except (MemoryError, torch.OutOfMemoryError):
            if len(batch) > 1:
                self.tokens = max(1, len(batch) * self.lengths[batch[0]] // 2)
            raise
        rows = np.array(given, dtype=np.float64)  # a copy: an oracle may use its array again
        if rows.ndim != 2 or len(rows) != len(batch) or self.width not in (None, rows.shape[1]):
            wanted = f"({len(batch)}, {self.width or 'numbers'})"
            raise ValueError(f"it gave an array of shape {rows.shape} where {wanted} was due")
        if not np.isfinite(rows).all():
            raise ValueError("it gave numbers that are not finite")
        if self.name == VICTIM:
            _check_probabilities(rows, batch)
        self.width = rows.shape[1]
        self.answered += len(batch)
        self.known.update(zip(batch, rows, strict=True))


def _check_probabilities(rows: Rows, texts: Sequence[Text]) -> None:
    wrong = (rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1) - 1) > SLACK)
    if wrong.any():
        first = int(wrong.argmax())
        raise NoProbabilities(
            f"oracle {VICTIM!r} gave {rows[first].tolist()} for {texts[first]!r}: probabilities are non-negative and "
            "sum to one; if they are logits, take their softmax"
        )

"""Students of a pretrained encoder: DistilBERT's way, MiniLM's and TinyBERT's."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BertForPreTraining

from robust_lib.micro import family, pretraining, tokenizer
from robust_lib.micro.draws import Draws
from robust_lib.micro.family import Encoder
from robust_lib.micro.pretraining import Batch, Meter, Progress

TEMPERATURE = 2.0
SOFT, HARD, COSINE = 5.0, 2.0, 1.0  # DistilBERT's published weights of the three losses


def distil(encoder: Encoder, *, steps: int | None = None) -> tuple[BertForPreTraining, list[Progress]]:
    """A student of `encoder.teacher` (from its shipped directory), and its loss every 50 steps."""
    steps = steps or encoder.steps
    teacher = BertForPreTraining.from_pretrained(family.directory(encoder.teacher), dtype=torch.float32)
    teacher.requires_grad_(False)
    student, words = initial(encoder, teacher), tokenizer.build()
    adam, rate = pretraining.optimiser(student, steps)
    mature = encoder.objective != "minilm"  # whose fresh stack has to find by itself how to copy
    objective = {"distilbert": distilbert, "minilm": minilm, "tinybert": tinybert}[encoder.objective]
    meter = Meter()
    for batch in pretraining.batches(Draws("distillation", encoder.seed), steps, words, mature=mature):
        loss, guesses, relation = objective(student, teacher, batch)
        pretraining.step(student, loss, adam, rate)
        meter.add(guesses, relation, batch)
    return student, meter.progress


def initial(encoder: Encoder, teacher: BertForPreTraining) -> BertForPreTraining:
    """The teacher's embeddings and heads; its alternate layers (DistilBERT) or a fresh encoder stack
    (MiniLM, TinyBERT).
    """
    student = pretraining.fresh(encoder, encoder.seed)
    student.bert.embeddings.load_state_dict(teacher.bert.embeddings.state_dict())
    own, theirs = student.bert.pooler, teacher.bert.pooler
    assert own is not None  # a pretraining model has one
    assert theirs is not None
    own.load_state_dict(theirs.state_dict())
    student.cls.load_state_dict(teacher.cls.state_dict())
    if encoder.objective == "distilbert":
        every = teacher.config.num_hidden_layers // encoder.layers
        for place, layer in enumerate(student.bert.encoder.layer):
            layer.load_state_dict(teacher.bert.encoder.layer[place * every].state_dict())
    return student


def distilbert(
    student: BertForPreTraining, teacher: BertForPreTraining, batch: Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """Soft word targets, masked words and the cosine of last hidden states    [Sanh et al. 2019, section 3]

    Next sentence is kept as a hard loss: without it [CLS] of a small encoder says nothing about pairs.
    """
    own = student.bert(**batch.inputs)
    guesses = pretraining.word_logits(student, own.last_hidden_state, batch.places)
    relation = student.cls.seq_relationship(own.pooler_output)
    with torch.no_grad():
        theirs = teacher.bert(**batch.inputs).last_hidden_state
        targets = pretraining.word_logits(teacher, theirs, batch.places)
    soft = F.kl_div(
        F.log_softmax(guesses / TEMPERATURE, -1), F.softmax(targets / TEMPERATURE, -1), reduction="batchmean"
    )
    real = batch.inputs["attention_mask"].bool()
    cosine = 1 - F.cosine_similarity(own.last_hidden_state[real], theirs[real], dim=-1).mean()
    loss = SOFT * TEMPERATURE**2 * soft + HARD * F.cross_entropy(guesses, batch.hidden) + COSINE * cosine
    return loss + F.cross_entropy(relation, batch.unrelated), guesses, relation


def minilm(
    student: BertForPreTraining, teacher: BertForPreTraining, batch: Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """Self-attention distributions and value relations of the last layers    [Wang et al. 2020, equations 4 and 7]

    The heads learn masked words and next sentence on top, the encoder from relations and them together.
    """
    own = student.bert(**batch.inputs, output_hidden_states=True)
    guesses = pretraining.word_logits(student, own.last_hidden_state, batch.places)
    relation = student.cls.seq_relationship(own.pooler_output)
    with torch.no_grad():
        theirs = teacher.bert(**batch.inputs, output_hidden_states=True)
    mask = batch.inputs["attention_mask"].bool()
    loss = torch.zeros(())
    for left, right in (("query", "key"), ("value", "value")):
        taught = relations(teacher, theirs.hidden_states[-2], left, right, mask)
        learnt = relations(student, own.hidden_states[-2], left, right, mask)
        # Masked columns are -inf on both sides; zero them before the divergence, rows of padding are left
        # out.
        gap = (taught.exp() * (taught - learnt).masked_fill(~mask[:, None, None, :], 0.0)).sum(-1)
        loss = loss + gap.transpose(1, 2)[mask].mean()
    hard = F.cross_entropy(guesses, batch.hidden) + F.cross_entropy(relation, batch.unrelated)
    return loss + hard, guesses, relation


def tinybert(
    student: BertForPreTraining, teacher: BertForPreTraining, batch: Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention scores and hidden states of all layers, of embeddings also    [Jiao et al. 2020, equations 7 to 9]

    The losses of general distillation, as `transfer` has them, and nothing else: neither masked words nor next
    sentence, which the teacher's heads, kept as they are, only measure.
    """
    own = student.bert(**batch.inputs, output_hidden_states=True)
    with torch.no_grad():
        guesses = pretraining.word_logits(student, own.last_hidden_state, batch.places)
        relation = student.cls.seq_relationship(own.pooler_output)
        theirs = teacher.bert(**batch.inputs, output_hidden_states=True)
    mask = batch.inputs["attention_mask"].bool()
    loss = transfer(student, teacher, own.hidden_states, theirs.hidden_states, mask)
    return loss, guesses, relation


def transfer(
    student: BertForPreTraining,
    teacher: BertForPreTraining,
    own: tuple[Tensor, ...],
    theirs: tuple[Tensor, ...],
    mask: Tensor,
) -> Tensor:
    """Squared differences of embeddings + sum over m of those of states and scores, layer m and g(m) = m M / N

    own, theirs: embedding output and states after each of N, M layers, (batch, length, hidden) each, of equal widths:
    the projection W_h is the identity, so that the teacher's heads can read the student. Scores are those before the
    softmax. Means over real tokens and pairs of them; padding adds nothing. 0 where the student is the teacher.
    """
    every = (len(theirs) - 1) // (len(own) - 1)
    heads = student.config.num_attention_heads
    pairs = (mask[:, None, None, :] & mask[:, None, :, None]).expand(-1, heads, -1, -1)

    def scores(model: BertForPreTraining, layer: int, states: Tensor) -> Tensor:
        return products(model, layer, states, "query", "key")[pairs]

    loss = F.mse_loss(own[0][mask], theirs[0][mask])
    for learnt in range(1, len(own)):
        taught = learnt * every
        loss = loss + F.mse_loss(own[learnt][mask], theirs[taught][mask])
        attending = scores(student, learnt - 1, own[learnt - 1])
        loss = loss + F.mse_loss(attending, scores(teacher, taught - 1, theirs[taught - 1]))
    return loss


def relations(model: BertForPreTraining, states: Tensor, left: str, right: str, mask: Tensor) -> Tensor:
    """Log-softmax over tokens of the last layer's `products`, (batch, heads, length, length).

    states: (batch, length, hidden) entering the last layer; left, right: names of its projections.
    """
    scores = products(model, -1, states, left, right)
    return torch.log_softmax(scores.masked_fill(~mask[:, None, None, :], float("-inf")), -1)


def products(model: BertForPreTraining, layer: int, states: Tensor, left: str, right: str) -> Tensor:
    """Scaled products of two projections of a layer's tokens, (batch, heads, length, length); of query and key,
    its attention scores.

    states: (batch, length, hidden) entering the layer; left, right: "query", "key" or "value".
    """
    attention: Any = model.bert.encoder.layer[layer].attention
    heads = model.config.num_attention_heads
    size = model.config.hidden_size // heads

    def split(name: str) -> Tensor:
        projected: Tensor = getattr(attention.self, name)(states)
        return projected.view(*states.shape[:2], heads, size).transpose(1, 2)

    product: Tensor = split(left) @ split(right).transpose(-1, -2) / size**0.5
    return product

"""The world's own WordPiece vocabulary: every word whole, and letters for any other lower-case word."""

import string

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from robust_lib.micro import family, words

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def vocabulary() -> dict[str, int]:
    """Token to id: special tokens, words in the lexicon's order, punctuation, then letters and digits."""
    characters = string.ascii_lowercase + string.digits
    tokens = [*SPECIAL, *words.lexicon(), *string.punctuation, *characters, *(f"##{c}" for c in characters)]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def build() -> PreTrainedTokenizerFast:
    """The tokenizer of every micro encoder."""
    vocab = vocabulary()
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=SPECIAL[1], max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        **dict(zip(names, SPECIAL, strict=True)),
        model_max_length=family.POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )

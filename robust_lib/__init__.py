"""Reference companion to four papers on what else changes when a language model is compressed."""

__version__ = "0.7.0"

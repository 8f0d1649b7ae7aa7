"""Lossless speculative decoding: the target model's exact output, sooner.

>>> from specdec_rs import SpeculativeDecoder
>>> decoder = SpeculativeDecoder("smollm2-135m")  # doctest: +SKIP
>>> print(decoder.generate("Once upon a time,", temperature=0.8))  # doctest: +SKIP
"""

from specdec_rs._core import (
    AsyncStream,
    Benchmark,
    Chunk,
    Comparison,
    ContextOverflow,
    CorruptModel,
    DeviceUnavailable,
    FileError,
    Generation,
    InvalidConfig,
    Measurement,
    ModelNotFound,
    OutOfMemory,
    Sequence,
    SpecdecError,
    SpeculativeConfig,
    SpeculativeDecoder,
    Stats,
    Stream,
    Token,
    Tokenizer,
    UnsupportedModel,
    VocabularyMismatch,
    __version__,
)
from specdec_rs._protocol import LanguageModel

__all__ = [
    "AsyncStream",
    "Benchmark",
    "Chunk",
    "Comparison",
    "ContextOverflow",
    "CorruptModel",
    "DeviceUnavailable",
    "FileError",
    "Generation",
    "InvalidConfig",
    "LanguageModel",
    "Measurement",
    "ModelNotFound",
    "OutOfMemory",
    "Sequence",
    "SpecdecError",
    "SpeculativeConfig",
    "SpeculativeDecoder",
    "Stats",
    "Stream",
    "Token",
    "Tokenizer",
    "UnsupportedModel",
    "VocabularyMismatch",
    "__version__",
]

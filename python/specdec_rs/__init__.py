"""Lossless speculative decoding: exactly the target model's output, faster.

>>> from specdec_rs import SpeculativeDecoder
>>> decoder = SpeculativeDecoder("smollm2-135m")  # doctest: +SKIP
>>> print(decoder.generate("Once upon a time,", temperature=0.8))  # doctest: +SKIP
"""

from specdec_rs._core import (
    AsyncStream,
    Audit,
    AuditReport,
    BatchInvariance,
    Benchmark,
    Chunk,
    Comparison,
    ContextOverflow,
    CorruptModel,
    DeviceUnavailable,
    DistributionTest,
    Divergence,
    FileError,
    Generation,
    Identity,
    InvalidConfig,
    Measurement,
    ModelNotFound,
    OutOfMemory,
    Sequence,
    SourceReport,
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

# Deprecated: the old names of two classes, kept for one release.
LawTest = DistributionTest
RowInvariance = BatchInvariance

__all__ = [
    "AsyncStream",
    "Audit",
    "AuditReport",
    "BatchInvariance",
    "Benchmark",
    "Chunk",
    "Comparison",
    "ContextOverflow",
    "CorruptModel",
    "DeviceUnavailable",
    "DistributionTest",
    "Divergence",
    "FileError",
    "Generation",
    "Identity",
    "InvalidConfig",
    "LanguageModel",
    "LawTest",
    "Measurement",
    "ModelNotFound",
    "OutOfMemory",
    "RowInvariance",
    "Sequence",
    "SourceReport",
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

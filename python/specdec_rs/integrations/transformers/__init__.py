"""Speculative decoding of torch models of Hugging Face's transformers.

Needs PyTorch and transformers (`pip install torch transformers`), which compute the models as they
always do. This package drafts, verifies several tokens in one forward pass, and rolls back the KV
cache:

>>> from specdec_rs.integrations.transformers import TransformersDecoder
>>> decoder = TransformersDecoder.from_pretrained("HuggingFaceTB/SmolLM2-135M")  # doctest: +SKIP
>>> inputs = decoder.tokenizer("Once upon a time,", return_tensors="pt")  # doctest: +SKIP
>>> ids = decoder.generate(**inputs, max_new_tokens=40)  # doctest: +SKIP
"""

try:
    from specdec_rs.integrations.transformers.decoder import TransformersDecoder
    from specdec_rs.integrations.transformers.model import TransformersModel
except ModuleNotFoundError as error:
    if error.name not in ("torch", "transformers"):
        raise
    raise ModuleNotFoundError(
        f"{__name__} needs PyTorch and transformers: pip install torch transformers",
        name=error.name,
    ) from error

__all__ = ["TransformersDecoder", "TransformersModel"]

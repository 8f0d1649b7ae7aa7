"""Speculative decoding inside of other frameworks."""

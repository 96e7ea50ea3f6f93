"""Encoders: texts → unit vectors, cached on disk. Offline MiniLM, any sentence-transformers model, or hashed TF-IDF."""

from recsmith.encoders.encode import EncodedTexts, encode_texts
from recsmith.encoders.text import EncoderConfig, TextEncoder, make_encoder

__all__ = ["EncodedTexts", "EncoderConfig", "TextEncoder", "encode_texts", "make_encoder"]

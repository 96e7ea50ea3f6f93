"""Encoders: texts → unit vectors, cached on disk. MiniLM offline, any transformers folder, an endpoint, hashed TF-IDF; people → vectors."""

from recsmith.encoders.catalogue_vectors import CatalogueVectors
from recsmith.encoders.encode import EncodedTexts, encode_texts
from recsmith.encoders.endpoint import EndpointEncoder, HttpEmbeddings
from recsmith.encoders.given import given_vectors
from recsmith.encoders.text import EncoderConfig, TextEncoder, checked_texts, make_encoder
from recsmith.encoders.user_vectors import UserVectorConfig, UserVectors, user_vectors

__all__ = [
    "CatalogueVectors",
    "EncodedTexts",
    "EncoderConfig",
    "EndpointEncoder",
    "HttpEmbeddings",
    "TextEncoder",
    "UserVectorConfig",
    "UserVectors",
    "checked_texts",
    "encode_texts",
    "given_vectors",
    "make_encoder",
    "user_vectors",
]

"""What a server's settings need that can be missing: said before anything is loaded, not at the first request."""

from __future__ import annotations

import ssl

from recsmith.errors import UserError, import_extra
from recsmith.serving.config import ServerConfig


def require(config: ServerConfig) -> None:
    """Raises `MissingExtraError` for what is not installed and `UserError` for a certificate that cannot be used."""
    if config.search == "hybrid":
        from recsmith.encoders import EncoderConfig, make_encoder

        make_encoder(EncoderConfig(name="minilm"))
    if config.traces is not None:
        import_extra("opentelemetry.sdk.trace", extra="traces", purpose="the setting `traces` of recsmith serve")
    if config.redis is not None:
        import_extra("redis.asyncio", extra="redis", purpose="the setting `redis` of recsmith serve")
    if config.certificate is None or config.private_key is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(config.certificate, config.private_key)
    except OSError as error:
        raise UserError(
            f"certificate `{config.certificate}` cannot be used ({error.strerror or error}); give a PEM chain and its private key"
        ) from None

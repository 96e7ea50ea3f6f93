"""Traces for OpenTelemetry, by the extra `traces`: a span for each request, and below it those in which it waits for something.

Spans name routes, never people or items. A request that comes with a `traceparent` (W3C Trace Context) becomes part of that trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from recsmith.errors import import_extra
from recsmith.serving.config import ServerConfig

_CARRIED = (b"traceparent", b"tracestate")


class RequestSpan:
    """What becomes known about a request while it is answered."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def answered(self, template: str, status: int) -> None:
        """Route and status."""
        if self._span is None:
            return
        self._span.update_name(template)
        self._span.set_attributes({"http.route": template.partition(" ")[2] or template, "http.response.status_code": status})
        if status >= 500:
            self._span.set_status(import_extra("opentelemetry.trace", extra="traces", purpose="traces").StatusCode.ERROR)


class Untraced:
    """Does nothing, at no cost."""

    def request(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> AbstractContextManager[RequestSpan]:
        """The span of one request."""
        return nullcontext(_UNTRACED)

    def wait(self, name: str) -> AbstractContextManager[Any]:
        """The span of something that a request waits for."""
        return nullcontext()

    def close(self) -> None:
        """Send what has not been sent."""


_UNTRACED = RequestSpan()


class Tracing(Untraced):
    """Sends spans to a collector by OTLP over HTTP, in batches, from a thread of its own; a collector that is away loses them."""

    def __init__(self, url: str, *, share: float) -> None:
        """`share` of the requests are traced, and all that come with a trace that is. Raises `MissingExtraError`."""

        def part(module: str) -> Any:
            return import_extra(f"opentelemetry.{module}", extra="traces", purpose="the setting `traces` of recsmith serve")

        sampling, exporter = part("sdk.trace.sampling"), part("exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter(endpoint=url)
        resource = part("sdk.resources").Resource.create({"service.name": "recsmith"})
        sampler = sampling.ParentBased(sampling.TraceIdRatioBased(share))
        self._provider = part("sdk.trace").TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(part("sdk.trace.export").BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("recsmith.serving")
        self._propagator = part("trace.propagation.tracecontext").TraceContextTextMapPropagator()
        self._server_kind = part("trace").SpanKind.SERVER

    @contextmanager
    def request(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[RequestSpan]:
        """The span of one request, in the trace that it came with if there is one."""
        carried = {name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIED}
        context = self._propagator.extract(carried) if carried else None
        attributes = {"http.request.method": method}
        with self._tracer.start_as_current_span(method, context, kind=self._server_kind, attributes=attributes) as span:
            yield RequestSpan(span)

    def wait(self, name: str) -> AbstractContextManager[Any]:
        """The span of something that a request waits for."""
        return self._tracer.start_as_current_span(name)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


def tracing_of(config: ServerConfig) -> Untraced:
    """As the settings say. Raises `MissingExtraError`."""
    return Untraced() if config.traces is None else Tracing(config.traces, share=config.traces_share)

"""Prometheus metrics of a server."""

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter("frostline_requests", "Answered requests.", ["method", "path", "status"], registry=own)
        self.seconds = Histogram(
            "frostline_request_seconds", "From header to answer.", ["path"], buckets=SECONDS, registry=own
        )
        self.images = Counter("frostline_images", "Classified images.", registry=own)
        self.refused = Counter("frostline_images_refused", "Images that could not be classified.", registry=own)
        self.gone = Counter("frostline_clients_gone", "Clients that disconnected before the answer.", registry=own)
        self.batch = Histogram("frostline_batch_images", "Images per batch.", buckets=SIZES, registry=own)
        self.waiting = Gauge("frostline_waiting_images", "Admitted images without an answer yet.", registry=own)
        self.held = Gauge("frostline_held_bytes", "Bytes of request bodies in memory.", registry=own)
        self._labeled = lru_cache(256)(self._with_labels)

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        requests, times = self._labeled(method, path, status)
        requests.inc()
        times.observe(seconds)

    def _with_labels(self, method: str, path: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(method, path, str(status)), self.seconds.labels(path)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

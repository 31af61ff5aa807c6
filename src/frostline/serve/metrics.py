"""What the server counts, for Prometheus."""

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "frostline_requests", "Answered requests.", ["method", "path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "frostline_request_seconds", "From header to answer.", ["path"], buckets=SECONDS, registry=self.registry
        )
        self.images = Counter("frostline_images", "Images that were classified.", registry=self.registry)
        self.refused = Counter("frostline_images_refused", "Images that were refused.", registry=self.registry)
        self.gone = Counter("frostline_clients_gone", "Clients that did not wait.", registry=self.registry)
        self.batch = Histogram("frostline_batch_images", "Per batch.", buckets=SIZES, registry=self.registry)
        self.waiting = Gauge("frostline_waiting_images", "Taken in, not yet answered.", registry=self.registry)
        self.held = Gauge("frostline_held_bytes", "Bodies that are held.", registry=self.registry)

        self._labeled = lru_cache(256)(self._with_labels)

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        requests, times = self._labeled(method, path, status)
        requests.inc()
        times.observe(seconds)

    def _with_labels(self, method: str, path: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(method, path, str(status)), self.seconds.labels(path)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

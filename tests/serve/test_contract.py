"""schemathesis checks the server against its OpenAPI document."""

from typing import Any

import numpy as np
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.serve.running import Running, as_json, png

IMAGES = [png(np.full((8, 8), shade, np.uint8)) for shade in (0, 200)]
BASE64 = [as_json([image]).decode().split('"')[3] for image in IMAGES]
EXAMPLES = 40


def test_schemathesis_finds_nothing(server: Running) -> None:
    schemathesis.openapi.format("binary", st.sampled_from(IMAGES))  # no schema can say that a string is an image
    schemathesis.openapi.format("byte", st.sampled_from(BASE64))
    schema = schemathesis.openapi.from_url(f"{server.address}openapi.json")
    bounded = settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    called = set()

    def check(case: Any) -> None:
        case.call_and_validate(timeout=10)
        called.add((case.operation.label, case.meta.generation.mode.value))

    for found in schema.get_all_operations():
        operation = found.ok()
        modes = ["positive", "negative"] if operation.label == "POST /v1/predict" else ["positive"]
        for mode in modes:
            cases = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))
            bounded(given(case=cases)(check))()
    assert {label for label, _ in called} >= {"POST /v1/predict", "GET /v1/model", "GET /metrics"}

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frostline.data.dataset import Splits
from frostline.data.preprocess import Preprocess
from frostline.errors import ConfigError
from frostline.features.compile import ENGINES, check_engine, compile_engine
from frostline.features.engine import TOLERANCE, EngineRecord, SelectedEngine, read_record
from frostline.features.extract import fill
from frostline.features.forward import FastForward
from frostline.features.store import feature_key
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.registry import load_backbone
from tests.features.passes import everything, first, make_forward

LONG_PASS = 10**9  # images: worth measuring every engine


def write(file: Path, record: EngineRecord) -> None:
    file.parent.mkdir()
    file.write_text(record.model_dump_json())


def lite() -> FastForward:
    backbone = load_backbone("efficientnet-lite0", "random")
    frozen = Frozen(backbone, make_boundary(backbone, "head", ("blocks_2", "blocks_4", "head")))
    return FastForward(frozen, Preprocess(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), torch.device("cpu"))


def pixels(channels: int, count: int = 4) -> torch.Tensor:
    return torch.rand(count, channels, 64, 64, generator=torch.Generator().manual_seed(0)) * 255


@pytest.fixture
def alexnet() -> FastForward:
    return make_forward("conv5", ("conv1", "conv3", "conv5"))


def assert_agrees(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max()))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_computes_the_plain_forward_pass(alexnet: FastForward, engine: str, channels: int) -> None:
    batch = pixels(channels)
    with torch.inference_mode():
        expected = alexnet.frozen(alexnet.preprocess.normalize(batch))
    assert_agrees(compile_engine(engine, alexnet, batch)(batch), expected)


@pytest.mark.parametrize("engine", ["torch", "openvino"])  # the exporter to ONNX takes half a minute for it
def test_engines_run_a_network_with_branches(engine: str) -> None:
    forward, batch = lite(), pixels(3)
    with torch.inference_mode():
        expected = forward.frozen(forward.preprocess.normalize(batch))
    assert_agrees(compile_engine(engine, forward, batch)(batch), expected)


def test_a_row_does_not_depend_on_the_others_of_its_batch(alexnet: FastForward) -> None:
    engine = compile_engine("openvino", alexnet, pixels(1))
    other = pixels(1)
    other[1:] = 0
    assert torch.equal(engine(pixels(1))[0], engine(other)[0])


def test_auto_measures_once_and_remembers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "frostline")
    forward, batch = lite(), pixels(3)
    selected = SelectedEngine(forward, "auto", LONG_PASS, "id", tmp_path)
    features = selected(batch)
    assert torch.equal(features, forward(batch))
    assert_agrees(selected(batch), features)
    (file,) = (tmp_path / "engines").iterdir()
    record = EngineRecord.model_validate_json(file.read_bytes())
    assert set(record.images_per_second) == {"torch", "openvino"}
    faster = record.images_per_second["openvino"] >= 1.5 * record.images_per_second["torch"]
    assert record.engine == ("openvino" if faster else "torch")
    assert f"engine: {record.engine}, {record.images_per_second[record.engine]:.0f} images/s" in caplog.text
    before = file.stat().st_mtime_ns
    assert_agrees(SelectedEngine(forward, "auto", LONG_PASS, "id", tmp_path)(batch), features)
    assert file.stat().st_mtime_ns == before


def test_auto_leaves_networks_that_torch_runs_fast(alexnet: FastForward, tmp_path: Path) -> None:
    selected = SelectedEngine(alexnet, "auto", LONG_PASS, "id", tmp_path)
    assert torch.equal(selected(pixels(1)), alexnet(pixels(1))) and torch.equal(selected(pixels(1)), alexnet(pixels(1)))
    assert not list(tmp_path.iterdir())


def test_a_remembered_engine_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "frostline")
    forward, batch = lite(), pixels(3)
    selected = SelectedEngine(forward, "auto", LONG_PASS, "id", tmp_path)
    write(
        selected.record_file(batch), EngineRecord(engine="openvino", images_per_second={"torch": 5.0, "openvino": 50.0})
    )
    first, second = selected(batch), selected(batch)  # the first batch is torch's, to compare
    assert torch.equal(first, forward(batch)) and not torch.equal(second, first)
    assert_agrees(second, first)
    assert "engine: openvino, 50 images/s (torch 5)" in caplog.text


@pytest.mark.parametrize("content", [
    "", "{", "[1]", '{"engine": "abacus", "images_per_second": {"torch": 1, "abacus": 2}}',
    '{"engine": "openvino", "images_per_second": {"torch": 1}}',
    '{"engine": "openvino", "images_per_second": {"torch": 0, "openvino": 1}}',
])  # fmt: skip
def test_a_damaged_record_is_not_used(tmp_path: Path, content: str) -> None:
    (tmp_path / "record.json").write_text(content)
    assert read_record(tmp_path / "record.json") is None
    assert read_record(tmp_path / "absent.json") is None


def test_a_short_pass_is_not_measured(tmp_path: Path) -> None:
    SelectedEngine(lite(), "auto", 10, "id", tmp_path)(pixels(3))
    assert not list(tmp_path.iterdir())


def test_engines_share_the_cache(fashion: Splits, cache: Path, alexnet: FastForward) -> None:
    images = first(fashion, 70)
    key = feature_key("alexnet", alexnet.frozen, alexnet.preprocess, "float32")
    (rows,), done = fill([images], alexnet, key, cache, engine="openvino")
    assert done.from_cache == 0
    (again,), found = fill([images], alexnet, key, cache)
    assert found.from_cache == 70
    assert torch.equal(everything(rows), everything(again))
    assert_agrees(everything(rows)[:64], alexnet(alexnet.preprocess.resize(images.subset(range(64)).images)))


def test_an_engine_for_the_cpu_is_refused_on_another_device() -> None:
    with pytest.raises(ConfigError, match="--engine openvino runs on the CPU: use --device cpu"):
        check_engine("openvino", torch.device("cuda"))


@pytest.mark.parametrize("first", ["", "check_engine('openvino', torch.device('cpu'))"])
def test_openvino_reports_nothing_to_its_makers(tmp_path: Path, first: str) -> None:
    program = (
        f"from tests.features.test_engine import *\n{first}\n"
        "compile_engine('openvino', make_forward('conv1'), pixels(1))(pixels(1))\n"
        "import openvino.tools.ovc\n"
        "assert not [name for name, module in sys.modules.items() if module and 'openvino_telemetry' in name]\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert not (tmp_path / "intel").exists()

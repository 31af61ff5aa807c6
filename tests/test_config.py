"""Settings: validation, defaults, and writing to and reading from TOML."""

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.config import GROUPS, TrainConfig, choices, read_config, setting, write_config
from frostline.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": -1}, "--lr: expected greater than 0, got -1."),
        ({"lr": float("nan")}, "--lr: expected a finite number, got nan."),
        ({"lr": float("inf")}, "--lr: expected a finite number, got inf."),
        ({"epochs": 0}, "--epochs: expected greater than or equal to 1, got 0."),
        (
            {"epochs": 2.5},
            "--epochs: expected a valid integer, got a number with a fractional part, got 2.5.",
        ),
        ({"dropout": 1}, "--dropout: expected less than 1, got 1."),
        ({"val_fraction": 1.0}, "--val-fraction: expected less than 1, got 1.0."),
        ({"val_fraction": 0}, "--val-fraction: expected greater than 0, got 0."),
        ({"seed": -1}, "--seed: expected greater than or equal to 0, got -1."),
        ({"workers": 0}, "--workers: expected greater than or equal to 1, got 0."),
        ({"weight_decay": -0.1}, "--weight-decay: expected greater than or equal to 0, got -0.1."),
        ({"optimizer": "adam"}, "--optimizer: expected 'sgd' or 'adamw', got 'adam'. Did you mean 'adamw'?"),
        ({"head": "lnear"}, "--head: expected 'auto', 'linear', 'mlp' or 'ridge', got 'lnear'. Did you mean 'linear'?"),
        (
            {"lr_schedule": "one-cycle"},
            "--lr-schedule: expected 'onecycle', 'cosine' or 'constant', got 'one-cycle'. Did you mean 'onecycle'?",
        ),
        ({"device": "qqqq"}, "--device: expected 'auto', 'cpu', 'cuda' or 'mps', got 'qqqq'."),
        ({"epoch": 3}, "unknown setting 'epoch'. Did you mean 'epochs'?"),
        ({"zzz": 3}, "unknown setting 'zzz'."),
    ],
)
def test_invalid_value_is_refused_with_the_allowed_ones(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainConfig(data="fashion-mnist", **values)
    assert str(refused.value) == message


def test_all_invalid_values_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        TrainConfig(data="fashion-mnist", lr=-1, epochs=0)
    assert str(refused.value) == (
        "--epochs: expected greater than or equal to 1, got 0. --lr: expected greater than 0, got -1."
    )


def test_missing_data_set_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^setting 'data' is missing\.$"):
        TrainConfig(epochs=1)


@pytest.mark.parametrize(
    ("given", "taps"),
    [
        ("auto", "auto"),
        ("none", ()),
        ("", ()),
        ("conv5", ("conv5",)),
        ("conv2, conv3,conv5", ("conv2", "conv3", "conv5")),
        (["conv2"], ("conv2",)),
    ],
)
def test_taps_are_parsed_from_strings_and_lists(given: object, taps: object) -> None:
    assert TrainConfig(data="fashion-mnist", taps=given).taps == taps


def test_settings_cannot_be_changed_afterwards() -> None:
    config = TrainConfig(data="fashion-mnist")
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 3


def test_invalid_value_in_json_has_the_same_message() -> None:
    with pytest.raises(ConfigError, match=r"^--lr: expected greater than 0, got -1\.$"):
        TrainConfig.model_validate_json('{"data": "fashion-mnist", "lr": -1}')


def test_a_defect_in_a_validator_is_no_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> None:
        raise TypeError("a defect")

    monkeypatch.setattr("frostline.config.split_pairs", broken)
    with pytest.raises(TypeError, match="a defect"):
        TrainConfig(data="fashion-mnist", augment="flip=0")  # type: ignore[arg-type]


def test_a_copy_with_changes_keeps_what_was_set() -> None:
    copied = TrainConfig(data="fashion-mnist", lr=0.1).model_copy(update={"epochs": 3})
    assert (copied.data, copied.lr, copied.epochs) == ("fashion-mnist", 0.1, 3)
    assert copied.model_fields_set == {"data", "lr", "epochs"}


def test_choices() -> None:
    assert choices("head") == ["auto", "linear", "mlp", "ridge"]
    assert choices("epochs") == []


def test_every_setting_is_described_and_in_a_group() -> None:
    assert [name for name, field in TrainConfig.model_fields.items() if not field.description] == []
    groups = [field.json_schema_extra["group"] for field in TrainConfig.model_fields.values()]  # type: ignore[index,call-overload]
    assert list(dict.fromkeys(groups)) == list(GROUPS)
    assert groups == sorted(groups, key=GROUPS.index)


def test_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^group 'Trainig': expected one of Data, Network, "):
        setting("Trainig", "epochs")


def test_default_settings_round_trip_through_a_file(tmp_path: Path) -> None:
    config = TrainConfig(data="fashion-mnist")
    write_config(config, tmp_path / "config.toml")
    assert TrainConfig(**read_config(tmp_path / "config.toml")) == config


SETTINGS = st.fixed_dictionaries(
    {"data": st.text(min_size=1, max_size=20)},
    optional={
        "data_dir": st.sampled_from([None, Path("/some where/data"), Path('quo"ted')]),
        "weights": st.text(max_size=20),
        "taps": st.sampled_from(["auto", (), ("conv2",), ("conv1", "conv5")]),
        "image_size": st.none() | st.integers(1, 4096),
        "head": st.sampled_from(choices("head")),
        "dropout": st.floats(0, 1, exclude_max=True),
        "lr": st.none() | st.floats(0, 1e30, exclude_min=True),
        "weight_decay": st.floats(0, 1e30),
        "limit": st.none() | st.integers(1, 10**9),
        "seed": st.integers(0, 2**63 - 1),
        "device": st.sampled_from(get_args(TrainConfig.model_fields["device"].annotation)),
    },
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(values=SETTINGS)
def test_any_settings_round_trip_through_a_file(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    config = TrainConfig(**values)
    write_config(config, path)
    assert TrainConfig(**read_config(path)) == config


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^there is no {tmp_path / 'none.toml'}: give a TOML file"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [b"epochs = ", b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n", b"a = " + b"[" * 99_999])
def test_invalid_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{path} is damaged .*: give a TOML file"):
        read_config(path)


def test_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is a folder"):
        read_config(tmp_path)

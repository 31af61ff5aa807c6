"""scikit-learn's estimator checks. Those that do not apply to images are listed with the reason."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from sklearn.utils.estimator_checks import (
    check_n_features_in,
    check_n_features_in_after_fitting,
    estimator_checks_generator,
    parametrize_with_checks,
)

from frostline.config import TrainConfig
from frostline.sklearn import FeatureExtractor, TransferClassifier
from frostline.sklearn.base import OWN_PARAMS
from tests.sklearn.striped import LineClassifier, LineTransformer, StripedClassifier, StripedTransformer

FAST = {"weights": "bundled", "image_size": 63, "freeze": "conv2", "taps": ("conv1", "conv2")}
ESTIMATORS = [StripedClassifier(**FAST, epochs=20), StripedTransformer(**FAST)]
LINES = [LineClassifier(**FAST, epochs=1), LineTransformer(**FAST)]

# A listed check that passes is a failure (xfail_strict), and so is one that scikit-learn no longer has.
CANNOT_APPLY = {
    "check_estimators_nan_inf": "an image is bytes, and no byte is NaN or infinite: X of real numbers is refused",
    "check_class_weight_classifiers": "class_weight is 'balanced' or None, not a weight for each class",
    "check_complex_data": "X of complex numbers is refused like everything but uint8, with another message",
    "check_dtype_object": "it wants numbers in an array of objects: to us such an array is paths, or an error",
    "check_n_features_in": "F numbers stand for F stripes, an image of F x F values; run on lines of F values below",
    "check_n_features_in_after_fitting": "the same",
}


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conventions")


@pytest.fixture(autouse=True)
def one_cache(shared_cache: Path, own_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Share one cache between all checks, so that the 1,000 drawn images for ridge are computed once."""
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(shared_cache))


@pytest.mark.parametrize("estimator", [TransferClassifier, FeatureExtractor])
def test_parameters_have_the_defaults_of_the_settings(estimator: type) -> None:
    defaults = {name: one.default for name, one in inspect.signature(estimator).parameters.items()}
    settings = {"random_state": "seed", "validation_fraction": "val_fraction"}
    shared = {
        name: settings.get(name, name) for name in defaults if settings.get(name, name) in TrainConfig.model_fields
    }
    assert set(defaults) - set(shared) <= OWN_PARAMS
    assert {name: TrainConfig.model_fields[shared[name]].default for name in shared} == {
        name: defaults[name] for name in shared
    }


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda _: CANNOT_APPLY, xfail_strict=True)
def test_convention(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("estimator", LINES, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize("check", [check_n_features_in, check_n_features_in_after_fitting])
def test_convention_on_the_number_of_features(estimator: Any, check: Any) -> None:
    check(type(estimator).__name__, estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_every_listed_check_is_one_of_scikit_learn(estimator: Any) -> None:
    names = {
        check.func.__name__ for _, check in estimator_checks_generator(estimator) if hasattr(check.func, "__name__")
    }
    weighs_classes = hasattr(estimator, "class_weight")
    assert {name for name in CANNOT_APPLY if weighs_classes or "class_weight" not in name} <= names
    assert len(names) > 40

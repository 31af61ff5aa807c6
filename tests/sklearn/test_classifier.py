"""TransferClassifier on real images: labels, unusual data and parameters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone

from frostline import Classifier, TrainConfig
from frostline.data.dataset import ImageDataset
from frostline.errors import ConfigError, InputError, UnknownNameError
from frostline.runs.bundle import load_bundle, save_bundle
from frostline.sklearn import TransferClassifier
from frostline.sklearn.base import make_config
from frostline.sklearn.classifier import split
from tests.class_folders import write_classes
from tests.sklearn.conftest import Labelled

FAST = {"weights": "bundled", "image_size": 64, "taps": "none", "epochs": 10}


def classifier(**changes: Any) -> TransferClassifier:
    return TransferClassifier(**{**FAST, **changes})


def test_labels_may_be_names(labeled: Labelled, unseen: Labelled) -> None:
    model = classifier().fit(*labeled)
    assert model.classes_.tolist() == ["bag", "boot", "trouser"]
    assert model.n_features_in_ == 28 * 28
    assert model.score(*unseen) >= 0.9
    probabilities = model.predict_proba(unseen[0])
    assert probabilities.shape == (30, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (model.predict(unseen[0]) == model.classes_[probabilities.argmax(1)]).all()


def test_labels_may_be_any_numbers(labeled: Labelled, unseen: Labelled) -> None:
    y = np.array([-7, 40, 3])[np.unique(labeled[1], return_inverse=True)[1]]
    model = classifier().fit(labeled[0], y)
    assert model.classes_.tolist() == [-7, 3, 40]
    assert set(model.predict(unseen[0])) == {-7, 3, 40}


def test_paths_instead_of_arrays(small_fashion: Path, fashion: Any, tmp_path: Path) -> None:
    root = write_classes(tmp_path / "photos", fashion.train, per_class=16)
    paths = sorted(root.rglob("*.*"))
    y = [path.parent.name for path in paths]
    model = classifier(image_size=None).fit(paths, y)
    assert model.config_.image_size == 128  # the files are small
    assert not hasattr(model, "n_features_in_")
    assert model.score(np.array([str(path) for path in paths]), y) >= 0.9


@pytest.mark.parametrize("head", ["linear", "mlp", "ridge"])
def test_one_image_of_each_class_is_enough(head: str, labeled: Labelled) -> None:
    X, y = labeled[0][::20], labeled[1][::20]
    model = classifier(head=head).fit(X, y)
    assert model.score(X, y) == 1


def test_class_of_one_image_is_trained_on(labeled: Labelled) -> None:
    X, y = labeled[0][:41], labeled[1][:41]
    model = classifier().fit(X, y)
    assert model.classes_.tolist() == ["bag", "boot", "trouser"]
    assert model.predict(X[-1:]).tolist() == ["trouser"]


def test_copies_stay_on_one_side_and_order_does_not_matter(labeled: Labelled) -> None:
    X = np.concatenate([labeled[0], labeled[0][:30]])
    labels = np.concatenate([np.repeat([0, 1, 2], 20), np.repeat([0, 1], [20, 10])])
    config = make_config(classifier(validation_fraction=0.3).get_params())
    dataset = ImageDataset(X, labels, ("a", "b", "c"))
    parts = split(dataset, config)
    shuffled = split(dataset.subset(np.random.default_rng(1).permutation(90)), config)
    assert not set(parts.train.row_ids) & set(parts.val.row_ids)
    assert set(parts.val.row_ids) == set(shuffled.val.row_ids)
    assert 20 <= len(parts.val) <= 30


def test_thawed_stages_are_trained_and_stored(labeled: Labelled, unseen: Labelled) -> None:
    frozen = classifier().fit(*labeled)
    thawed = classifier(freeze="conv4", epochs=1, settings={"head_epochs": 1}).fit(*labeled)
    before, after = (model.network_.network.backbone.state_dict() for model in (frozen, thawed))
    assert torch.equal(before["stages.conv4.0.weight"], after["stages.conv4.0.weight"])
    assert thawed.predict(unseen[0]).shape == (30,)
    assert [epoch.freeze for epoch in thawed.history_] == ["conv5", "conv4"]


def test_same_seed_gives_the_same_model(labeled: Labelled, unseen: Labelled) -> None:
    numbers = torch.random.get_rng_state()
    one, other, third = (classifier(head="mlp", random_state=seed).fit(*labeled) for seed in (5, 5, 6))
    assert torch.equal(numbers, torch.random.get_rng_state())
    assert (one.predict_proba(unseen[0]) == other.predict_proba(unseen[0])).all()
    assert (one.predict_proba(unseen[0]) != third.predict_proba(unseen[0])).any()


def test_generator_draws_the_seed() -> None:
    seeds = [make_config(classifier(random_state=np.random.RandomState(3)).get_params()).seed for _ in range(2)]
    assert seeds[0] == seeds[1] != 3


def test_predictions_are_not_cached_without_keep(labeled: Labelled, unseen: Labelled, cache: Path) -> None:
    model = classifier().fit(*labeled)
    before = sorted(path for path in cache.rglob("*.safetensors"))
    alone = model.set_params(keep=False).predict_proba(unseen[0])
    assert sorted(path for path in cache.rglob("*.safetensors")) == before
    kept = model.set_params(keep=True).predict_proba(unseen[0])
    assert len(list(cache.rglob("*.safetensors"))) == len(before) + 1
    np.testing.assert_allclose(alone, kept, atol=2e-3)  # kept rows are float16


def test_model_can_be_saved_as_a_bundle(labeled: Labelled, unseen: Labelled, tmp_path: Path) -> None:
    model = classifier(keep=False).fit(*labeled)
    save_bundle(model.model_, tmp_path / "model")
    again = Classifier(load_bundle(tmp_path / "model"))
    np.testing.assert_allclose(again.predict_proba(unseen[0]), model.predict_proba(unseen[0]), atol=1e-5)


def test_defaults_are_those_of_a_run() -> None:
    defaults = make_config(TransferClassifier().get_params())
    assert defaults == TrainConfig(data="images")


def test_verbose_prints_log_messages(labeled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    classifier().fit(*labeled)
    assert capsys.readouterr().out == ""
    model = classifier(verbose=1).fit(*labeled)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == len(model.history_)
    model.predict(labeled[0])
    assert capsys.readouterr().out.startswith("frozen pass: ")


def test_settings_reach_the_run(labeled: Labelled) -> None:
    model = classifier(settings={"optimizer": "sgd", "patience": 2}).fit(*labeled)
    assert (model.config_.optimizer, model.config_.patience) == ("sgd", 2)
    assert clone(model).settings == {"optimizer": "sgd", "patience": 2}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"settings": {"optimzer": "sgd"}}, UnknownNameError, "unknown setting 'optimzer'.*mean 'optimizer'"),
        ({"settings": {"lr": 1.0}}, ConfigError, "settings: 'lr' is a parameter of the estimator"),
        ({"settings": {"val_fraction": 0.2}}, ConfigError, "'val_fraction' is a parameter of the estimator"),
        ({"settings": {"limit": 9}}, UnknownNameError, "unknown setting 'limit'"),
        ({"head": "tree"}, ConfigError, "--head: expected 'auto', 'linear', 'mlp' or 'ridge', got 'tree'"),
        ({"freeze": "conv9"}, UnknownNameError, "unknown stage of alexnet 'conv9'"),
    ],
)
def test_impossible_parameters_are_refused_by_fit(
    changes: dict[str, Any], error: type[Exception], words: str, labeled: Labelled
) -> None:
    with pytest.raises(error, match=words):
        classifier(**changes).fit(*labeled)


def test_images_of_another_size_are_refused(labeled: Labelled) -> None:
    model = classifier().fit(*labeled)
    with pytest.raises(ValueError, match="X has 729 features, but TransferClassifier is expecting 784"):
        model.predict(labeled[0][:, 1:, 1:])


def test_numbers_of_labels_and_images_must_match(labeled: Labelled) -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier().fit(labeled[0], labeled[1][1:])
    with pytest.raises(InputError, match="requires y to be passed"):
        classifier().fit(labeled[0], None)


def test_class_weight_balanced_weighs_the_classes() -> None:
    assert (
        make_config({"random_state": 0, "validation_fraction": 0.1, "class_weight": "balanced"}).class_weights
        == "balanced"
    )
    assert make_config({"random_state": 0, "validation_fraction": 0.1, "class_weight": None}).class_weights == "none"
    with pytest.raises(ConfigError, match="expected 'none' or 'balanced', got 'heavy'"):
        make_config({"random_state": 0, "validation_fraction": 0.1, "class_weight": "heavy"})

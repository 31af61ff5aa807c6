"""A trained model on images of any kind, and its test result measured again."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from frostline.data.registry import load_dataset
from frostline.errors import ConfigError, DataError, RunError
from frostline.evaluation.metrics import evaluate
from frostline.evaluation.rejection import calibrate_rejection
from frostline.inference.classifier import Classifier, evaluate_run, tta_views
from frostline.pipeline.resolve import split
from frostline.runs.bundle import load_bundle
from frostline.runs.evidence import read_evidence
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.small_run import small_config

FLOAT16 = 5e-3  # what keeping activations in float16 moves a probability by, at most


@pytest.fixture(scope="module")
def classifier(finished):
    return Classifier.load(finished.folder)


@pytest.fixture(scope="module")
def test_part(finished):
    config = finished.config
    return split(load_dataset(config.data, config.data_dir), config).test


def test_probabilities_are_probabilities(classifier, fashion):
    found = classifier.predict_proba(fashion.test.images[:130])
    assert (found.shape, found.dtype) == ((130, 10), np.float32)
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    assert found.min() >= 0


def test_the_device_does_not_change_the_probabilities(finished, classifier, fashion, device):
    images = fashion.test.images[:40]
    found = Classifier.load(finished.folder, device.type).predict_proba(images)
    np.testing.assert_allclose(found, classifier.predict_proba(images), atol=1e-4)


def test_the_names_are_those_of_the_most_probable_classes(classifier, fashion):
    images = fashion.test.images[:40]
    best = classifier.predict_proba(images).argmax(1)
    assert classifier.predict(images).tolist() == [classifier.class_names[i] for i in best]


def test_the_bundle_gives_what_was_evaluated(finished, classifier, test_part):
    again = evaluate(classifier.predict_proba(test_part.images), test_part.labels, classifier.class_names)
    recorded = finished.metrics["test"]
    assert again["accuracy"] == pytest.approx(recorded["accuracy"], abs=1 / len(test_part))
    assert again["loss"] == pytest.approx(recorded["loss"], abs=FLOAT16)
    assert again["ece"] == pytest.approx(recorded["ece"], abs=0.02)


def test_measuring_again_gives_what_was_recorded(finished, run_cache):
    recorded = {part: finished.metrics[part] for part in ("val", "test", "calibration")}
    assert evaluate_run(finished, cache_dir=run_cache) == recorded


def test_measuring_again_works_from_an_empty_cache(finished, cache):
    again = evaluate_run(finished, cache_dir=cache)["test"]
    assert again["confusion"] == finished.metrics["test"]["confusion"]
    assert again["loss"] == pytest.approx(finished.metrics["test"]["loss"], abs=1e-6)


@pytest.mark.parametrize("freeze", ["none", "conv3"])
def test_fine_tuned_runs_are_measured_again(small_fashion, tmp_path, freeze):
    run = fit(small_config(small_fashion, freeze=freeze, limit=60, epochs=1, lr=1e-4), output_dir=tmp_path)
    again = evaluate_run(run)["test"]
    assert again["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=1e-5)
    images = split(load_dataset("fashion-mnist", small_fashion), run.config).test
    shown = evaluate(Classifier.load(run.folder).predict_proba(images.images), images.labels, images.class_names)
    assert shown["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=FLOAT16)


def test_an_image_does_not_depend_on_its_neighbors(classifier, fashion):
    together = classifier.predict_proba(fashion.test.images[:70])
    alone = np.concatenate([classifier.predict_proba(fashion.test.images[i : i + 1]) for i in (0, 30, 69)])
    assert np.allclose(together[[0, 30, 69]], alone, atol=1e-5)


def test_arrays_lists_and_files_agree(classifier, fashion, tmp_path):
    images = np.asarray(fashion.test.images[:4])
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image).save(path)
    expected = classifier.predict_proba(images)
    for same in (list(images), paths, [str(path) for path in paths], [images[0], paths[1], images[2], str(paths[3])]):
        assert np.allclose(classifier.predict_proba(same), expected, atol=1e-5)


def test_three_equal_channels_are_gray(classifier, fashion):
    gray = np.asarray(fashion.test.images[:5])
    color = np.repeat(gray[..., None], 3, axis=-1)
    assert np.allclose(classifier.predict_proba(color), classifier.predict_proba(gray), atol=1e-5)


def test_mixed_sizes_and_modes_go_together(classifier, fashion, tmp_path):
    image = Image.fromarray(np.asarray(fashion.test.images[1]))
    paths = []
    for number, (mode, size) in enumerate(
        [("L", (28, 28)), ("RGB", (200, 130)), ("RGBA", (31, 90)), ("P", (28, 28)), ("1", (64, 64)), ("LA", (300, 20))]
    ):
        paths.append(tmp_path / f"{number}.png")
        image.resize(size).convert(mode).save(paths[-1])
    paths.append(tmp_path / "photo.jpg")
    image.convert("CMYK").save(paths[-1])
    together = classifier.predict_proba(paths)
    alone = np.concatenate([classifier.predict_proba([path]) for path in paths])
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(together.sum(1), 1, atol=1e-5)


def test_nothing_gives_nothing(classifier):
    assert classifier.predict_proba([]).shape == (0, 10)
    assert classifier.predict(np.empty((0, 28, 28), np.uint8)).shape == (0,)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 28, 28), np.float32),
        np.zeros((2, 28, 28, 2), np.uint8),
        [np.zeros((28, 28), np.float32)],
        [np.zeros((2, 28, 28, 3), np.uint8)],
    ],
    ids=["real numbers", "two channels", "list of real numbers", "list of batches"],
)
def test_pixels_of_another_kind_are_refused(classifier, images):
    with pytest.raises(DataError, match=r"expected a uint8 array .*, got (float32|uint8) \("):
        classifier.predict_proba(images)


def test_one_image_gets_one_answer(classifier, test_part, tmp_path):
    image = np.asarray(test_part.images[0])
    path = tmp_path / "one.png"
    Image.fromarray(image).save(path)
    expected = classifier.predict_proba([image])
    for one in (image, Image.fromarray(image), path, str(path), (x for x in [path]), np.stack([image] * 3, -1)):
        found = classifier.predict_proba(one)
        assert found.shape == (1, 10)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert classifier.predict(str(path)).shape == (1,)


def test_a_damaged_image_is_named(classifier, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(DataError, match=r"broken\.png"):
        classifier.predict([path])
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read"):
        classifier.predict([tmp_path / "nowhere.png"])


def test_the_model_folder_may_be_given_itself(finished, classifier, fashion):
    inner = Classifier.load(str(finished.model_folder))
    images = fashion.test.images[:3]
    assert np.array_equal(inner.predict_proba(images), classifier.predict_proba(images))


def test_an_unfinished_run_holds_no_model(tmp_path):
    with pytest.raises(RunError, match="contains no model"):
        Classifier.load(tmp_path)
    with pytest.raises(RunError, match="no results yet"):
        Run(tmp_path).metrics  # noqa: B018


def test_answers_below_the_calibrated_confidence_are_unknown(finished, classifier, test_part):
    val = read_evidence(finished).val.probabilities
    assert classifier.model.rejection == calibrate_rejection(val)
    threshold = classifier.threshold(0.3)
    assert (val.max(1) < threshold).mean() <= 0.3
    probabilities = classifier.predict_proba(test_part.images)
    found = classifier.predict(test_part.images, reject=0.3)
    assert (found == "unknown").sum() == (probabilities.max(1) < threshold).sum() > 0
    known = found != "unknown"
    assert found[known].tolist() == classifier.predict(test_part.images)[known].tolist()
    with pytest.raises(ConfigError, match=r"--reject 1: expected"):
        classifier.threshold(1)


def test_a_run_saved_before_models_had_thresholds_takes_them_from_its_evidence(finished, classifier):
    without = replace(load_bundle(finished.folder), rejection=None)
    with pytest.raises(RunError, match="has no confidence thresholds for rejection"):
        Classifier(without).threshold(0.05)
    earlier = Classifier.load(finished.folder)
    earlier.model = without
    assert earlier.threshold(0.3) == classifier.threshold(0.3)


def test_averaging_over_views_begins_with_the_image_and_its_mirror_image(classifier, test_part):
    images = test_part.images[:20]
    alone, mirrored = classifier.predict_proba(images), classifier.predict_proba(images[:, :, ::-1].copy())
    both = classifier.predict_proba(images, tta=2)
    assert np.abs(both - (alone + mirrored) / 2).max() < 1e-4
    assert np.abs(classifier.predict_proba(images, tta=1) - alone).max() == 0
    more = classifier.predict_proba(images, tta=4)
    assert np.abs(more - both).max() > 1e-3
    one_by_one = np.concatenate([classifier.predict_proba(images[i : i + 1], tta=4) for i in range(20)])
    assert np.abs(more - one_by_one).max() < 1e-5  # a view depends on nothing but its image


def test_where_mirror_images_are_other_things_no_view_is_mirrored(finished, classifier, test_part):
    images = test_part.images[:20]
    as_seen = Classifier(replace(load_bundle(finished.folder), mirror=False))
    assert np.abs(as_seen.predict_proba(images) - classifier.predict_proba(images)).max() == 0
    views = tta_views(5, mirror=False)
    assert [view.augment.flip for view in views[1:]] == [0, 0, 0, 0]
    assert len({view.number for view in views}) == 5
    assert np.abs(as_seen.predict_proba(images, tta=5) - classifier.predict_proba(images, tta=5)).max() > 1e-3


def test_evaluating_with_views_is_predicting_with_them(finished, run_cache, classifier, test_part):
    results = evaluate_run(finished, tta=3, cache_dir=run_cache)
    again = evaluate(classifier.predict_proba(test_part.images, tta=3), test_part.labels, classifier.class_names)
    assert results["test"]["accuracy"] == again["accuracy"]
    assert results["test"]["loss"] == pytest.approx(again["loss"], abs=1e-3)
    assert results["test"]["loss"] != finished.metrics["test"]["loss"]


def test_a_run_whose_views_are_not_mirrored_averages_over_none_that_is(small_fashion, run_cache, tmp_path, test_part):
    settings = small_config(small_fashion, views=2, epochs=2, augment="flip=0")
    run = fit(settings, output_dir=tmp_path, cache_dir=run_cache)
    model = load_bundle(run.model_folder)
    assert not model.mirror
    results = evaluate_run(run, tta=2, cache_dir=run_cache)
    for mirror, same in ((False, True), (True, False)):
        found = Classifier(replace(model, mirror=mirror)).predict_proba(test_part.images, tta=2)
        again = evaluate(found, test_part.labels, model.class_names)
        assert (abs(results["test"]["loss"] - again["loss"]) < 1e-4) is same


def test_no_view_is_no_prediction(classifier, test_part):
    with pytest.raises(ConfigError, match="--tta 0: expected the number of views"):
        classifier.predict_proba(test_part.images[:1], tta=0)

"""Findings of an audit of a data set with known faults."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from frostline.data.dataset import ImageDataset
from frostline.errors import ConfigError, RunError
from frostline.studies.audit.audit import audit
from tests.studies.audit.conftest import FLIPPED, FLIPPED_TEST, NOISE, SAME_AS_7, SAME_AS_TEST_3, Planted


def images(found, kind):
    return {finding.image: finding for finding in found.findings if finding.kind == kind}


def test_flipped_labels_are_among_the_most_suspicious(planted: Planted):
    suspects = np.argsort(planted.found.scored.quality)[:40]
    assert np.isin(FLIPPED, suspects).sum() >= 9  # random picks would find 1 of 12
    assert np.isin(FLIPPED, list(images(planted.found, "label"))).sum() >= 6


def test_most_suggestions_are_the_true_labels(planted: Planted, fashion):
    found = images(planted.found, "label")
    right = [found[i].suggested == fashion.train.labels[i] for i in FLIPPED if i in found]
    assert sum(right) > len(right) / 2


def test_copies_are_reported_within_and_across_splits(planted: Planted):
    found = images(planted.found, "duplicate")
    pool = planted.found.pool
    assert (found[SAME_AS_7].other, found[SAME_AS_7].suspicion) == (7, 1.0)
    assert found[SAME_AS_7].note.startswith("identical pixels, copy labeled ")
    assert pool.where(found[SAME_AS_TEST_3].other) == "test 3"
    assert found[SAME_AS_TEST_3].note == "identical pixels, across splits: train and test"


def test_noise_is_an_outlier(planted: Planted):
    assert NOISE in images(planted.found, "outlier")


def test_ambiguous_images_lie_between_two_classes(planted: Planted):
    p = planted.found.scored.probabilities
    found = images(planted.found, "ambiguous")
    assert found
    for image in found:
        second, best = np.sort(p[image])[-2:]
        assert best - second < 0.1


def test_labels_of_the_test_split_are_not_read(planted: Planted, tmp_path):
    test = planted.splits.test
    other = ImageDataset(test.images, test.labels[::-1].copy(), test.class_names)
    splits = dataclasses.replace(planted.splits, test=other)
    audit(planted.config, tmp_path, cache_dir=planted.cache, splits=splits, fdr=1)
    assert (tmp_path / "audit.csv").read_bytes() == (planted.folder / "audit.csv").read_bytes()
    assert not [finding for finding in planted.found.findings if planted.found.pool.split(finding.image) == "test"]


def test_labels_of_the_test_split_are_checked_on_request(planted: Planted, tmp_path):
    found = audit(planted.config, tmp_path, cache_dir=planted.cache, splits=planted.splits, include_test=True)
    suspected = [found.pool.where(finding.image) for finding in found.findings if finding.kind == "label"]
    assert f"test {FLIPPED_TEST}" in suspected
    assert "The labels of the test split were checked too" in (tmp_path / "audit.html").read_text()
    facts = json.loads((tmp_path / "audit.json").read_text())
    assert facts["test_labels_questioned"] is True
    assert facts["findings"]["label"] == len(suspected)


def test_an_audit_is_not_overwritten_by_default(planted: Planted):
    with pytest.raises(RunError, match=r"exists \(perhaps with your edits\): choose another --name, or --overwrite"):
        audit(planted.config, planted.folder, cache_dir=planted.cache, splits=planted.splits)


def test_an_audit_is_not_written_into_another_folder(planted: Planted, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"exists and is not an audit \(it contains thesis\.txt\)"):
        audit(planted.config, tmp_path, cache_dir=planted.cache, splits=planted.splits, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("fdr", [0, -1, 1.5, float("nan")])
def test_impossible_rates_are_refused(planted: Planted, tmp_path, fdr):
    with pytest.raises(ConfigError, match=r"--fdr .+: expected a number above 0 and at most 1"):
        audit(planted.config, tmp_path / "a", cache_dir=planted.cache, splits=planted.splits, fdr=fdr)
    assert not list(tmp_path.iterdir())


def test_the_rate_limits_the_list_and_is_stated(planted: Planted, tmp_path):
    found = audit(planted.config, tmp_path, cache_dir=planted.cache, splits=planted.splits, fdr=0.2)
    facts = json.loads((tmp_path / "audit.json").read_text())["label_errors"]
    assert 0 < facts["listed"] == len(images(found, "label")) < len(images(planted.found, "label"))
    assert facts["fdr"] == 0.2 and facts["expected_right"] <= 0.2 * facts["listed"]
    with (tmp_path / "audit.csv").open(newline="") as file:
        rates = [float(line["fdr"]) for line in csv.DictReader(file) if line["finding"] == "label"]
    assert rates == sorted(rates) and rates[-1] == pytest.approx(facts["expected_right"] / facts["listed"], abs=1e-4)
    assert "expected to be right (false discovery rate at most 0.2)" in (tmp_path / "audit.html").read_text()


def test_heads_that_cannot_judge_say_so_and_list_no_suspects(planted: Planted, tmp_path, caplog):
    train = planted.splits.train
    labels = np.random.default_rng(0).permutation(train.labels)
    splits = dataclasses.replace(planted.splits, train=ImageDataset(train.images, labels, train.class_names))
    with caplog.at_level("WARNING", "frostline"):
        found = audit(planted.config, tmp_path, cache_dir=planted.cache, splits=splits)
    judgment = json.loads((tmp_path / "audit.json").read_text())["judgment"]
    assert not judgment["possible"] and judgment["skill"] < 0.2
    assert "the heads cannot judge these labels: they agree with" in judgment["line"] and "--model" in judgment["line"]
    assert judgment["line"] in caplog.text
    assert "The heads cannot judge these labels" in (tmp_path / "audit.html").read_text()
    assert not images(found, "label") and not images(found, "ambiguous")

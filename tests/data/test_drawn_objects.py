"""The synthetic data set drawn-objects."""

import numpy as np
import pytest

from frostline.data.check import check
from frostline.data.drawn_objects import CLASSES, PRIOR_IMAGES, PRIOR_OBJECTS, draw_uint8, load_prior
from frostline.data.registry import SOURCES, load_dataset
from frostline.synthetic.scene import Program


@pytest.fixture(scope="module")
def drawn():
    return load_dataset("drawn-objects")


def test_it_is_as_described(drawn):
    assert drawn.name == "drawn-objects"
    assert np.asarray(drawn.train.images).shape == (3000, 64, 64, 3)
    assert np.asarray(drawn.test.images).shape == (1000, 64, 64, 3)
    assert np.bincount(drawn.train.labels).tolist() == [150] * CLASSES
    assert np.bincount(drawn.test.labels).tolist() == [50] * CLASSES
    assert len(set(drawn.train.class_names)) == CLASSES


def test_it_is_the_same_every_time(drawn):
    assert load_dataset("drawn-objects").test.fingerprint == drawn.test.fingerprint


def test_no_image_stands_in_train_and_test(drawn):
    assert not set(drawn.train.row_ids) & set(drawn.test.row_ids)


def test_the_prior_shows_each_object_equally_often_and_no_image_of_the_data_set(drawn):
    prior = load_prior(PRIOR_OBJECTS, PRIOR_IMAGES)
    assert np.bincount(prior.labels).tolist() == [20] * 50
    assert not set(prior.row_ids) & {*drawn.train.row_ids, *drawn.test.row_ids}
    assert len(set(prior.row_ids)) == len(prior)


def test_the_check_finds_nothing_wrong(drawn):
    assert [finding.what for finding in check(drawn) if finding.level == "problem"] == []


def test_it_needs_no_file():
    assert "no file" in SOURCES["drawn-objects"].where(None)


def test_the_first_number_decides_the_image():
    program = Program()
    together = draw_uint8(program, np.arange(6), 32)
    assert np.array_equal(draw_uint8(program, np.arange(2, 6), 32, first=2), together[2:])

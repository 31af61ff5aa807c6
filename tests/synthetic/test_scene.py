"""Synthetic images."""

import dataclasses

import pytest
import torch

from frostline.synthetic.scene import Labels, Program, draw_images, draw_labels, draw_plans, draw_scenes

PROGRAM = Program(clutter=0.4)


@pytest.fixture(scope="module")
def images():
    return draw_images(PROGRAM, torch.arange(200), 48)


def test_images_are_colored_and_in_range(images):
    assert images.shape == (200, 3, 48, 48) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert images.isfinite().all()
    colored = (images.std(1).amax((1, 2)) > 0.01).float().mean()
    assert 0.3 < colored < 0.6  # half are tinted, some of those on black


def test_nearly_every_image_shows_something(images):
    assert (images.flatten(1).std(1) > 0.02).float().mean() > 0.97


@pytest.mark.parametrize("number", [0, 3, 57, 58, 199])
def test_a_image_does_not_depend_on_the_others(images, number):
    alone = draw_images(PROGRAM, torch.tensor([number]), 48)
    assert torch.allclose(alone[0], images[number], atol=1e-5)


def test_the_same_number_gives_the_same_image(images):
    assert torch.equal(draw_images(PROGRAM, torch.arange(200), 48), images)


@pytest.mark.parametrize("change", [{"seed": 1}, {"first_class": 5000}])
def test_another_program_draws_other_images(images, change):
    other = draw_images(dataclasses.replace(PROGRAM, **change), torch.arange(200), 48)
    assert ((other - images).abs().amax((1, 2, 3)) > 0.05).float().mean() > 0.95


def test_labels_cover_the_classes_and_depend_on_the_number():
    labels = draw_labels(Program(classes=30, textures=8), torch.arange(3000))
    assert set(labels.objects.tolist()) == set(range(30))
    assert set(labels.textures.tolist()) == set(range(8))
    alone = draw_labels(Program(classes=30, textures=8), torch.tensor([1234]))
    assert alone.objects[0] == labels.objects[1234] and alone.textures[0] == labels.textures[1234]


def test_chosen_labels_win():
    index = torch.arange(6)
    same = Labels(torch.full((6,), 4), torch.zeros(6, dtype=torch.int64))
    drawn = draw_images(PROGRAM, index, 32, same)
    assert not torch.equal(drawn, draw_images(PROGRAM, index, 32))
    assert torch.equal(drawn, draw_images(PROGRAM, index, 32, same))


def test_images_of_one_object_resemble_each_other_more_than_those_of_others():
    """Nearest centroid on small gray images already beats chance by far: the classes are there to be seen."""
    index, classes = torch.arange(1200), 10
    labels = Labels(index % classes, draw_labels(PROGRAM, index).textures)
    gray = draw_images(Program(clutter=0.0), index, 24, labels).mean(1).flatten(1)
    edges = (gray - gray.mean(1, keepdim=True)).abs()
    edges = edges / edges.norm(dim=1, keepdim=True)
    centroids = torch.stack([edges[:800][labels.objects[:800] == c].mean(0) for c in range(classes)])
    right = (edges[800:] @ (centroids / centroids.norm(dim=1, keepdim=True)).T).argmax(1) == labels.objects[800:]
    assert right.float().mean() > 0.25


def test_sizes_show_the_same_scene():
    small = draw_images(Program(clutter=0.0), torch.arange(40), 64)
    large = draw_images(Program(clutter=0.0), torch.arange(40), 128)
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    pairs = torch.stack([small.flatten(1), shrunk.flatten(1)], 1)  # (40, 2, pixels)
    alike = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs])
    assert alike.nanmedian() > 0.9


def test_no_images_are_no_images():
    drawing = draw_scenes(PROGRAM, torch.arange(0), 32)
    assert drawing.images.shape == (0, 3, 32, 32)
    assert drawing.cover.shape == drawing.shade.shape == (0, 1, 32, 32)


def test_the_cover_says_where_the_object_is():
    labels = Labels(torch.full((60,), 3), torch.zeros(60, dtype=torch.int64))
    program = Program(clutter=0.0)
    drawing = draw_scenes(program, torch.arange(60), 64, labels)
    assert drawing.cover.min() >= 0 and drawing.cover.max() == 1
    outside = (drawing.cover == 0) & (drawing.images.mean(1, keepdim=True) == 0)
    black = [int(image.sum()) for image in outside]
    assert sum(count > 500 for count in black) > 6  # three in ten backgrounds are black, some images are inverted


def test_plans_are_the_objects_undisturbed():
    plans = draw_plans(PROGRAM, torch.tensor([4, 4, 8]), 32)
    assert plans.shape == (3, 1, 32, 32)
    assert plans.min() == 0 and plans.max() == 1
    assert torch.equal(plans[0], plans[1]) and not torch.equal(plans[0], plans[2])
    assert torch.equal(plans[2:], draw_plans(dataclasses.replace(PROGRAM, first_class=8), torch.tensor([0]), 32))

"""Object prototypes."""

import dataclasses
import math

import torch

from frostline._utils.rng import Stream
from frostline.synthetic import shapes

SIDE = 128


def grid():
    axis = (torch.arange(SIDE) + 0.5) * (2 / SIDE) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.flatten()[None], y.flatten()[None]


def one(**changes):
    """An object of a single part: a circle of radius 0.5 in the middle unless something is changed."""
    still = torch.zeros(1, shapes.PARTS)
    plain = shapes.Shapes(
        center=torch.zeros(1, shapes.PARTS, 2),
        size=torch.tensor([[0.5, 0, 0, 0]]),
        aspect=still + 1,
        angle=still,
        power=still + 2,
        waves=torch.zeros(1, shapes.PARTS, 2 * shapes.HARMONICS),
        cut=still.bool(),
        albedo=still,
        symmetric=torch.tensor([False]),
    )
    return dataclasses.replace(plain, **changes)


def cover(shape):
    light = torch.zeros(1, shapes.PARTS, 2)
    return shapes.render(shape, *grid(), light, torch.tensor([SIDE / 2]))[0].view(SIDE, SIDE)


def area(shape):
    return cover(shape).mean().item() * 4


def test_a_part_without_waves_is_an_ellipse_of_the_right_area():
    assert math.isclose(area(one()), math.pi * 0.25, rel_tol=0.02)
    assert math.isclose(area(one(aspect=torch.full((1, 4), 0.5))), math.pi * 0.125, rel_tol=0.03)


def test_a_large_power_makes_a_box():
    assert math.isclose(area(one(power=torch.full((1, 4), 60.0))), 1.0, rel_tol=0.03)


def test_an_absent_part_covers_nothing():
    assert area(one(size=torch.zeros(1, 4))) == 0


def test_a_part_lies_where_its_center_says():
    middle = cover(one(center=torch.tensor([[[0.25, -0.25]] * 4])))
    y, x = (middle > 0.5).nonzero().float().mean(0)
    assert abs(x - 80) < 1 and abs(y - 48) < 1


def test_a_cut_takes_away_what_it_covers():
    size = torch.tensor([[0.5, 0.25, 0, 0]])
    cut = torch.tensor([[False, True, False, False]])
    assert math.isclose(area(one(size=size, cut=cut)), math.pi * (0.25 - 0.0625), rel_tol=0.03)


def test_a_symmetric_object_is_its_own_mirror_image():
    shape = one(center=torch.tensor([[[0.3, 0.1]] * 4]), symmetric=torch.tensor([True]))
    image = cover(shape)
    assert torch.allclose(image, image.flip(1), atol=1e-5)
    assert math.isclose(area(shape), 2 * math.pi * 0.25 - lens(), rel_tol=0.03)


def lens():
    """Area that two circles of radius 0.5 share whose centers are 0.6 apart."""
    r, d = 0.5, 0.6
    return 2 * r**2 * math.acos(d / (2 * r)) - d / 2 * math.sqrt(4 * r**2 - d**2)


def test_the_contour_follows_its_harmonics():
    waves = torch.zeros(1, 4, 10)
    waves[..., 2] = 0.2  # cosine of twice the angle
    radius = shapes.contours(one(waves=waves))[0, 0]
    assert math.isclose(radius.max().item(), 1.2, abs_tol=0.01)
    assert math.isclose(radius.min().item(), 0.8, abs_tol=0.01)


def test_light_shades_a_part_along_its_axis():
    light = torch.zeros(1, 4, 2)
    light[..., 0] = 0.3
    _, shade = shapes.render(one(), *grid(), light, torch.tensor([64.0]))
    row = shade.view(SIDE, SIDE)[64, 40:88]
    assert (row.diff() > 0).all()


def test_a_prototype_depends_on_its_number_alone():
    many, alone = shapes.prototypes(torch.arange(100)), shapes.prototypes(torch.tensor([42]))
    for field in dataclasses.fields(shapes.Shapes):
        assert torch.equal(getattr(many, field.name)[42:43], getattr(alone, field.name)), field.name


def test_prototypes_vary_and_the_first_part_is_always_there():
    many = shapes.prototypes(torch.arange(1000))
    parts = (many.size > 0).sum(1)
    assert set(parts.tolist()) == {1, 2, 3, 4}
    assert (many.size[:, 0] > 0).all() and not many.cut[:, 0].any()
    assert 0.35 < many.symmetric.float().mean() < 0.45


def test_jitter_is_small_and_differs_from_image_to_image():
    proto = shapes.prototypes(torch.zeros(50, dtype=torch.int64))
    moved = shapes.jittered(proto, Stream(1, torch.arange(50)))
    shift = (moved.center - proto.center).abs()
    assert 0 < shift.mean() < 0.05
    assert len(moved.center.unique(dim=0)) == 50

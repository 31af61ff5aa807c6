"""Textures."""

import dataclasses

import pytest
import torch

from frostline.synthetic import textures

SIDE = 96


def grid(count):
    axis = (torch.arange(SIDE) + 0.5) * (2 / SIDE) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.flatten().repeat(count, 1), y.flatten().repeat(count, 1)


def drawn(classes, phase=0.0):
    count = len(classes)
    look = textures.textures(torch.as_tensor(classes))
    return textures.render(look, *grid(count), torch.full((count, 2), phase), pitch=48.0)


def test_a_texture_depends_on_its_class_alone():
    many, alone = textures.textures(torch.arange(64)), textures.textures(torch.tensor([9]))
    for field in dataclasses.fields(textures.Textures):
        assert torch.equal(getattr(many, field.name)[9:10], getattr(alone, field.name)), field.name


def test_textures_differ_and_stay_in_range():
    images = drawn(range(64))
    assert images.abs().max() <= 1
    assert (images.std(1) > 0.1).all()
    assert len(images.unique(dim=0)) == 64


def test_all_kinds_occur():
    weights = textures.textures(torch.arange(64)).weights
    assert {tuple(row) for row in weights.tolist()} == {tuple(torch.tensor(kind).tolist()) for kind in textures.KINDS}


def test_a_grating_has_its_frequency_along_its_angle():
    look = textures.textures(torch.tensor([0]))
    look = dataclasses.replace(
        look,
        angle=torch.zeros(1, 1),
        frequency=torch.tensor([[8 * torch.pi, 5.0]]),  # eight waves over the frame's two halves
        weights=torch.tensor([[1.0, 0, 0]]),
        contrast=torch.ones(1, 1),
    )
    image = textures.render(look, *grid(1), torch.zeros(1, 2), pitch=48.0).view(SIDE, SIDE)
    assert torch.allclose(image[0], image[50], atol=1e-5)  # nothing changes across
    assert torch.fft.rfft(image[0]).abs().argmax() == 8


def test_phase_moves_a_texture():
    assert not torch.allclose(drawn([0]), drawn([0], phase=0.4))


def test_noise_is_endless_and_normalized():
    x = torch.arange(textures.TILE * 3, dtype=torch.float32)[None] - 300
    line = textures.noise_at(torch.tensor([2]), x, torch.zeros_like(x))
    assert torch.equal(line[:, :256], line[:, 256:512])
    side = torch.arange(textures.TILE, dtype=torch.float32)
    y, x = torch.meshgrid(side, side, indexing="ij")
    for tile in range(textures.TILES):
        noise = textures.noise_at(torch.tensor([tile]), x.flatten()[None], y.flatten()[None])
        assert noise.mean().item() == pytest.approx(0, abs=1e-3)
        assert noise.std().item() == pytest.approx(1, abs=1e-2)


def test_later_tiles_are_smoother():
    x = torch.arange(256, dtype=torch.float32)[None]
    steps = [textures.noise_at(torch.tensor([tile]), x, x * 0).diff().abs().mean().item() for tile in (0, 3, 7)]
    assert steps[0] > 2 * steps[1] > 2 * steps[2]

"""Draw synthetic images: a lit, textured object on a background, sometimes cluttered, tinted, inverted or blurred."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from frostline._utils.rng import Stream
from frostline.synthetic import shapes, textures

VERSION = 1  # increment when the same numbers give other images
CHUNK = 1 << 17  # pixels drawn at once on a CPU: the intermediates stay in its cache
THUMBNAILS = (20, 28, 40)  # sides to which some images are shrunk, and enlarged again
THUMBNAIL_SHARE = 0.12  # of the images, for each side
OBJECT_SEED, CLUTTER_SEED = 1, 2  # added to the seed: the appearance must be independent of the class


@dataclass(frozen=True)
class Program:
    """Parameters of the drawing; together with an image's number they determine every pixel.

    Attributes
    ----------
    seed : int
        Another seed gives other images of the same classes.
    classes, textures : int
        Number of object and texture classes.
    first_class : int
        Number of the first object class: programs with different ranges have no object in common.
    clutter : float
        Share of images with a second, smaller object behind or in front of the first.
    """

    seed: int = 0
    classes: int = 2000
    textures: int = 64
    first_class: int = 0
    clutter: float = 0.15


@dataclass(frozen=True)
class Labels:
    """Object and texture classes of n images, Tensors of int64 (n,) from 0."""

    objects: torch.Tensor
    textures: torch.Tensor

    def part(self, chosen: slice) -> "Labels":
        """Return the labels of some images."""
        return Labels(self.objects[chosen], self.textures[chosen])


@dataclass(frozen=True)
class Drawing:
    """Images with their ground truth.

    Attributes
    ----------
    images : Tensor of float32 (n, 3, size, size)
        0 to 1.
    cover : Tensor of float32 (n, 1, size, size)
        Fraction of a pixel that the object covers, 0 to 1, ignoring objects in front of it.
    shade : Tensor of float32 (n, 1, size, size)
        Brightness added to the object's surface by light and by the albedo of its parts.
    """

    images: torch.Tensor
    cover: torch.Tensor
    shade: torch.Tensor


def draw_labels(program: Program, index: torch.Tensor) -> Labels:
    """Return the classes of the images with these numbers."""
    draw = Stream(program.seed, index)
    return Labels(draw.below(program.classes), draw.below(program.textures))


def draw_images(program: Program, index: torch.Tensor, size: int, labels: Labels | None = None) -> torch.Tensor:
    """Return the images of `draw_scenes`: float32, shape (n, 3, size, size), 0 to 1."""
    return draw_scenes(program, index, size, labels).images


def draw_scenes(program: Program, index: torch.Tensor, size: int, labels: Labels | None = None) -> Drawing:
    """Draw the images with these numbers.

    An image does not depend on the rest of its batch; its last bits depend on the device.

    Parameters
    ----------
    program : Program
    index : Tensor of int64, shape (n,)
        0 to 2^32 - 1, on the device to draw on.
    size : int
        Side in pixels.
    labels : Labels, optional
        The classes. Default: chosen by the program.
    """
    labels = labels or draw_labels(program, index)
    step = max(1, CHUNK // size**2) if index.device.type == "cpu" else max(1, len(index))
    parts = [_draw(program, index[:0], size, labels.part(slice(0)))]
    for start in range(0, len(index), step):
        chosen = slice(start, start + step)
        parts.append(_draw(program, index[chosen], size, labels.part(chosen)))
    return Drawing(
        torch.cat([part.images for part in parts]),
        torch.cat([part.cover for part in parts]),
        torch.cat([part.shade for part in parts]),
    )


def draw_plans(program: Program, objects: torch.Tensor, size: int) -> torch.Tensor:
    """Draw objects as they are meant: upright, in the middle, nothing bent, and nothing else in the image.

    Parameters
    ----------
    program : Program
    objects : Tensor of int64, shape (n,)
        Classes.
    size : int
        Side in pixels.

    Returns
    -------
    Tensor of float32, shape (n, 1, size, size)
        How much of a pixel the object covers, 0 to 1.
    """
    across, down = _grid(size, objects.device)
    count = len(objects)
    shape = shapes.prototypes(objects + program.first_class)
    light = torch.zeros(count, shapes.PARTS, 2, device=objects.device)
    sharpness = torch.full((count,), size / 2, device=objects.device)
    cover, _ = shapes.render(shape, across.expand(count, -1), down.expand(count, -1), light, sharpness)
    return cover.view(count, 1, size, size)


@dataclass
class _Layers:
    """What is put together at the end, Tensors (n, pixels): brightness before and behind the edge, and the edge."""

    front: torch.Tensor
    behind: torch.Tensor
    cover: torch.Tensor


def _draw(program: Program, index: torch.Tensor, size: int, labels: Labels) -> Drawing:
    draw = Stream(program.seed + OBJECT_SEED, index)
    cover, shade, x, y = _object(draw, size, labels.objects + program.first_class, (0.75, 1.25), 0.2)
    texture = textures.render(textures.textures(labels.textures), x, y, draw.uniform(2), pitch=size / 2)
    level = draw.uniform(1, low=0.15, high=1.0)
    front = texture.mul_(draw.uniform(1, low=0.05, high=0.35)).add_(shade).add_(level)
    layers = _Layers(front, _background(draw, size), cover)
    tinted = draw.chance(0.5, 1)
    front_tint = 1 + tinted * draw.uniform(3, low=-0.5, high=0.5)
    back_tint = 1 + tinted * draw.uniform(3, low=-0.5, high=0.5)
    if program.clutter:
        cluttered = draw.chance(program.clutter)
        if cluttered.any():
            _add_clutter(layers, program, index, size, cluttered)
    images = torch.lerp(
        layers.behind[:, None] * back_tint[..., None],
        layers.front[:, None] * front_tint[..., None],
        layers.cover[:, None],
    )  # (n, 3, pixels)
    images = torch.where(draw.chance(0.15, 1, 1), 1 - images, images).clamp_(0, 1)
    square = (-1, 1, size, size)
    return Drawing(_blurred(draw, images.view(-1, 3, size, size)), cover.view(square), shade.view(square))


def _grid(size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y of the pixels' centers, -1 to 1: two Tensors (pixels,)."""
    axis = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.flatten(), y.flatten()


def _object(
    draw: Stream, size: int, kind: torch.Tensor, scales: tuple[float, float], reach: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw one object each, turned by up to 14 degrees, stretched and moved by up to ``reach``.

    Returns cover and shade (`shapes.render`), and each pixel's x and y in the object's frame: Tensors (n, pixels).
    """
    across, down = _grid(size, kind.device)
    scale = draw.uniform(1, low=scales[0], high=scales[1])
    turn = draw.uniform(1, low=-0.25, high=0.25)
    stretch = torch.exp(draw.uniform(1, low=-0.2, high=0.2))
    x = (across - draw.uniform(1, low=-reach, high=reach)) / (scale * stretch)
    y = (down - draw.uniform(1, low=-reach, high=reach)) / scale * stretch
    x, y = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    shape = shapes.jittered(shapes.prototypes(kind), draw)
    light = draw.uniform(shapes.PARTS, 2, low=-0.15, high=0.15)
    cover, shade = shapes.render(shape, x, y, light, scale[:, 0] * (size / 2))
    return cover, shade, x, y


def _background(draw: Stream, size: int) -> torch.Tensor:
    """Draw backgrounds (n, pixels): half of them plain, often black; the others gradients with noise."""
    plain, black = draw.chance(0.5, 1), draw.chance(0.6, 1)
    level, amplitude = draw.uniform(1), draw.uniform(1, high=0.2)
    slope = draw.uniform(2, low=-0.2, high=0.2)
    where = draw.uniform(2, high=textures.TILE)
    pitch = torch.exp(draw.uniform(1, high=2.0)) * (size / 4)
    across, down = _grid(size, plain.device)
    noise = textures.noise_at(draw.below(textures.TILES), across * pitch + where[:, :1], down * pitch + where[:, 1:])
    uneven = noise.mul_(amplitude).add_(slope[:, :1] * across).add_(slope[:, 1:] * down).add_(0.8 * level)
    return torch.where(plain, level * ~black, uneven)


def _add_clutter(layers: _Layers, program: Program, index: torch.Tensor, size: int, mask: torch.Tensor) -> None:
    """Add a second, smaller, plain object of any class behind the object or, with probability 0.3, in front of it."""
    draw = Stream(program.seed + CLUTTER_SEED, index[mask])
    kind = draw.below(program.classes) + program.first_class
    cover, shade, _, _ = _object(draw, size, kind, (0.3, 0.6), 0.9)
    tone = shade + draw.uniform(1)
    in_front = draw.chance(0.3, 1)
    layers.behind[mask] = torch.lerp(layers.behind[mask], tone, cover)
    layers.front[mask] = torch.lerp(layers.front[mask], tone, cover * in_front)


def _blurred(draw: Stream, images: torch.Tensor) -> torch.Tensor:
    """Shrink some images and enlarge them again, like the thumbnails of many data sets."""
    size, u = images.shape[-1], draw.uniform()
    for number, side in enumerate(THUMBNAILS):
        mask = (u >= THUMBNAIL_SHARE * number) & (u < THUMBNAIL_SHARE * (number + 1))
        if side < size and mask.any():
            small = functional.interpolate(images[mask], size=(side, side), mode="area")
            images[mask] = functional.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    return images

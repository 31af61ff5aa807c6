"""One image: a lit, textured object on a background, perhaps with a second one, tinted, inverted or blurred."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from frostline._utils.rng import Stream
from frostline.synthetic import shapes, textures

VERSION = 1  # of the program: another version may draw other images for the same numbers
CHUNK = 1 << 17  # pixels drawn at once on a processor: their intermediates stay in its cache
THUMBNAILS = (20, 28, 40)  # sides of the small images that some were enlarged from
THUMBNAIL_SHARE = 0.12  # of the images, for each of them
OBJECT_SEED, CLUTTER_SEED = 1, 2  # added to the seed: what decides the class must not decide the looks


@dataclass(frozen=True)
class Program:
    """What is drawn; with an image's number it decides every pixel.

    Attributes
    ----------
    seed : int
        Another seed, other images of the same classes.
    classes, textures : int
        How many object and texture classes.
    first_class : int
        Number of the first object class: programs whose numbers differ never show the same object.
    clutter : float
        Share of images with a second, smaller object behind or before the first.
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
        """Return some of them."""
        return Labels(self.objects[chosen], self.textures[chosen])


@dataclass(frozen=True)
class Drawing:
    """Images and what the program knows of them.

    Attributes
    ----------
    images : Tensor of float32 (n, 3, size, size)
        0 to 1.
    cover : Tensor of float32 (n, 1, size, size)
        How much of a pixel the object covers, 0 to 1, whatever stands before it.
    shade : Tensor of float32 (n, 1, size, size)
        Brightness that light and the parts' own tones add to the object's surface.
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

    An image does not depend on the others that are drawn with it; its last bits depend on the device.

    Parameters
    ----------
    program : Program
    index : Tensor of int64, shape (n,)
        0 to 2^32 - 1, on the device that shall draw.
    size : int
        Side in pixels.
    labels : Labels, optional
        The classes, in place of those that the program would choose.
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

    Returns
    -------
    cover, shade, x, y : Tensor (n, pixels)
        As `shapes.render` gives them, and where each pixel lies in the object's frame.
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
    """Draw backgrounds (n, pixels): half of them plain, often black; the others sloping, with noise."""
    plain, black = draw.chance(0.5, 1), draw.chance(0.6, 1)
    level, amplitude = draw.uniform(1), draw.uniform(1, high=0.2)
    slope = draw.uniform(2, low=-0.2, high=0.2)
    where = draw.uniform(2, high=textures.TILE)
    pitch = torch.exp(draw.uniform(1, high=2.0)) * (size / 4)
    across, down = _grid(size, plain.device)
    noise = textures.noise_at(draw.below(textures.TILES), across * pitch + where[:, :1], down * pitch + where[:, 1:])
    uneven = noise.mul_(amplitude).add_(slope[:, :1] * across).add_(slope[:, 1:] * down).add_(0.8 * level)
    return torch.where(plain, level * ~black, uneven)


def _add_clutter(layers: _Layers, program: Program, index: torch.Tensor, size: int, some: torch.Tensor) -> None:
    """Put a second, smaller, plain object of any class behind the object, or, three times in ten, before it."""
    draw = Stream(program.seed + CLUTTER_SEED, index[some])
    kind = draw.below(program.classes) + program.first_class
    cover, shade, _, _ = _object(draw, size, kind, (0.3, 0.6), 0.9)
    tone = shade + draw.uniform(1)
    before = draw.chance(0.3, 1)
    layers.behind[some] = torch.lerp(layers.behind[some], tone, cover)
    layers.front[some] = torch.lerp(layers.front[some], tone, cover * before)


def _blurred(draw: Stream, images: torch.Tensor) -> torch.Tensor:
    """Make some images smaller and enlarge them again, as the thumbnails of many data sets are."""
    size, lot = images.shape[-1], draw.uniform()
    for number, side in enumerate(THUMBNAILS):
        some = (lot >= THUMBNAIL_SHARE * number) & (lot < THUMBNAIL_SHARE * (number + 1))
        if side < size and some.any():
            small = functional.interpolate(images[some], size=(side, side), mode="area")
            images[some] = functional.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    return images

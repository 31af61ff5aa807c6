"""A program that draws pictures of made-up objects: no photograph, no file, every picture a function of its number."""

NAME = "drawn-objects"  # the data set of `frostline.images.drawn.dataset`

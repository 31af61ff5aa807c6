"""A program that draws pictures of made-up objects: no photograph, no file, every picture a function of its number."""

DRAWN_OBJECTS = "drawn-objects"  # the data set of `frostline.data.drawn_objects`

"""A program that draws images of made-up objects: no photograph, no file, every image a function of its number."""

DRAWN_OBJECTS = "drawn-objects"  # the data set of `frostline.data.drawn_objects`

"""The sheet of drawn images."""

import numpy as np
from PIL import Image

from frostline.synthetic.scene import Program
from tools.pretraining.sheet import draw_program


def test_a_sheet_shows_images_of_the_seed(tmp_path):
    sheets = []
    for seed in (0, 0, 1):
        draw_program(Program(seed=seed), tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            sheets.append(np.asarray(sheet))
    assert sheets[0].std() > 20
    assert np.array_equal(sheets[0], sheets[1])
    assert not np.array_equal(sheets[0], sheets[2])

"""Lets the tests, and the commands that they start, import torchvision beside torch's build for processors alone.

torchvision's wheel belongs to torch's CUDA build; here its compiled operators do not load, and its import stops at the
first one it speaks of. The tests need none of them: it is enough that they have names. Python runs this module by
itself at the start of every process that has this folder on its PYTHONPATH.
"""

import sys
from importlib.abc import MetaPathFinder

NAMES = (
    "nms", "qnms", "roi_align", "qroi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward",
    "ps_roi_align", "_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward",
    "deform_conv2d", "_deform_conv2d_backward",
)  # fmt: skip
kept = []  # operators live as long as their library does


class BeforeTorchvision(MetaPathFinder):
    """Defines the operators when torchvision is looked for, and finds nothing itself."""

    def find_spec(self, name, path, target=None):
        if name == "torchvision" and not kept:
            import torch

            kept.append(torch.library.Library("torchvision", "DEF"))
            for operator in NAMES:
                kept[0].define(f"{operator}(Tensor x) -> Tensor")


# Under this name and as part of the tests: two of them would define the operators twice.
if not any(type(finder).__name__ == BeforeTorchvision.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, BeforeTorchvision())

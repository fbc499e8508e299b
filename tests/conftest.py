"""Shapes in the kernels' signatures are checked while testing; one thread, no hub unless a test brings its own."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook(["robust_lib.losses", "robust_lib.masks"], "beartype.beartype")

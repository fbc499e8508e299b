"""8-bit models: simulated for training and calibration, and true integer inference on the CPU by others' kernels."""

from robust_lib.quantize.integer import dynamic, size
from robust_lib.quantize.runtime import export, onnx
from robust_lib.quantize.simulation import calibrate, simulate, simulated, unwrapped

__all__ = ["calibrate", "dynamic", "export", "onnx", "simulate", "simulated", "size", "unwrapped"]

"""The networks in the paper's words, one idea a file."""

from mfedge.nn.mobile_former import MobileFormer
from mfedge.nn.mobilenet_v3 import MobileNetV3

__all__ = ["MobileFormer", "MobileNetV3"]

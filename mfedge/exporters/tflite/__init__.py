"""The trace as a TFLite flatbuffer: NHWC, one XNNPACK partition, any input size by resize."""

from __future__ import annotations

from pathlib import Path

from torch.export import ExportedProgram

from mfedge.exporters.tflite.lowering import TfliteLowering

__all__ = ["TfliteLowering", "write"]


def write(program: ExportedProgram, path: Path, precision: str = "fp32") -> None:
    """Lower a trace and write `path`.

    Args:
        program: what `mfedge.deploy.trace` returns.
        path: of the .tflite file.
        precision: "fp32", or "fp16": weights stored as half, each behind a DEQUANTIZE to float32.

    Raises:
        UnsupportedError: the trace has an operator without a rule.
    """
    path.write_bytes(TfliteLowering(program, half=precision == "fp16").model())

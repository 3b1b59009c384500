"""Fused operators as custom operations of the opset "mfedge", which the native kernels run inside OpenVINO.

The operations are made by the library that runs them, so each has passed its checks before it is written, and the
shapes that the library has inferred are in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

from mfedge.kernels.kinds import BY_NAME
from mfedge.kernels.layout import Config, Kind
from mfedge.runtimes.openvino import OPSET, extension


def create(kind: Kind, inputs: Sequence[Any], config: Sequence[int]) -> Any:
    """One custom operation."""
    return factory(extension()).create(kind.row.name, inputs, Config(*config)._asdict())


@cache
def factory(library: Path) -> Any:
    """What makes operations of a library; kept, as long as the process runs, for the library's code to stay."""
    made = NodeFactory()
    made.add_extension(str(library))
    return made


def store_half(model: ov.Model) -> None:
    """Store all matrices as float16, which the kernels read as they are; vectors stay float32."""
    halves: dict[str, Any] = {}  # by name: two operations may share theirs
    for node in model.get_ordered_ops():
        of_ours = node.get_type_info().version_id == OPSET
        index = BY_NAME[node.get_type_name()].matrices if of_ours else None
        if index is None:
            continue
        matrices = node.input_value(index).get_node()
        name = matrices.get_friendly_name()
        if name not in halves:
            halves[name] = ops.constant(matrices.data.astype(np.float16), name=name)
        node.input(index).replace_source_output(halves[name].output(0))
    model.validate_nodes_and_infer_types()

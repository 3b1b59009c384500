"""What depends on the learned tokens alone is computed now: f(Z₀) = constant.

That is the first bridge's query and gate: no image has touched the tokens yet.
"""

from __future__ import annotations

import torch
from torch import fx


def fold_constants(graph: fx.GraphModule) -> int:
    """Evaluate every node whose inputs are all parameters, and store the values that other nodes read."""
    values: dict[fx.Node, object] = {}
    stored = 0
    interpreter = fx.Interpreter(graph)
    for node in list(graph.graph.nodes):
        if node.op == "get_attr":
            values[node] = interpreter.fetch_attr(str(node.target)).detach()
        elif node.op in ("call_module", "call_function", "call_method") and node.all_input_nodes:
            if all(argument in values for argument in node.all_input_nodes):
                interpreter.env = values
                with torch.no_grad():
                    values[node] = interpreter.run_node(node)

    for node, value in values.items():
        read_later = [user for user in node.users if user not in values]
        if node.op == "get_attr" or not read_later or not isinstance(value, torch.Tensor):
            continue
        name = f"constant_{node.name}"
        graph.register_buffer(name, value.clone())
        with graph.graph.inserting_before(node):
            constant = graph.graph.get_attr(name)
        for user in read_later:
            user.replace_input_with(node, constant)
        stored += 1
    return stored


def constants_left(graph: fx.GraphModule) -> list[str]:
    """Nodes that compute from parameters alone."""
    constant: set[fx.Node] = set()
    left = []
    for node in graph.graph.nodes:
        inputs = node.all_input_nodes
        if node.op == "get_attr":
            constant.add(node)
        elif node.op in ("call_module", "call_function", "call_method") and inputs and constant.issuperset(inputs):
            constant.add(node)
            left.append(node.name)
    return left

"""Linear layers that read the same tokens become one.

    W₁z, W₂z, …  =  split([W₁; W₂; …] z)

After every Former these are Mobile←Former's keys and values, both hyper-functions' first layers, and
the next bridge's query and gate. The hyper-functions read the first token only; computing their few
columns for all M tokens costs less than a second pass: (Wz)[0] = W(z[0]).
"""

from __future__ import annotations

import operator

import torch
from torch import fx, nn

from mfedge.deploy.graph import calls, new_linear

FIRST_TOKEN = (slice(None), 0)  # tokens[:, 0]


def merge_projections(graph: fx.GraphModule) -> int:
    """Merge every group of two or more Linear layers on the same tokens, at the place of the first."""
    groups = _groups(graph)
    for tokens, group in groups.items():
        _merge(graph, tokens, group)
    return len(groups)


def projections_left(graph: fx.GraphModule) -> list[str]:
    """Tokens that several Linear layers read."""
    return [tokens.name for tokens in _groups(graph)]


def _groups(graph: fx.GraphModule) -> dict[fx.Node, list[tuple[fx.Node, nn.Linear]]]:
    """Linear layers by the tokens that they read, where several do, and not all of them the first token alone."""
    groups: dict[fx.Node, list[tuple[fx.Node, nn.Linear]]] = {}
    for node, linear in calls(graph, nn.Linear):
        groups.setdefault(_tokens(node), []).append((node, linear))
    return {
        tokens: group
        for tokens, group in groups.items()
        if len(group) > 1 and any(node.args[0] is tokens for node, _ in group)
    }


def _tokens(node: fx.Node) -> fx.Node:
    """What a Linear layer reads, seen through `[:, 0]`."""
    argument = node.args[0]
    assert isinstance(argument, fx.Node)
    if argument.target is operator.getitem and argument.args[1] == FIRST_TOKEN:
        argument = argument.args[0]
        assert isinstance(argument, fx.Node)
    return argument


def _merge(graph: fx.GraphModule, tokens: fx.Node, group: list[tuple[fx.Node, nn.Linear]]) -> None:
    owner = tokens if tokens.op == "call_module" else group[0][0]  # the layer norm that made the tokens
    name = f"{str(owner.target).rpartition('.')[0]}.projections"
    weight = torch.cat([linear.weight for _, linear in group])
    bias = torch.cat([linear.bias for _, linear in group])
    graph.add_submodule(name, new_linear(weight, bias))
    sizes = [linear.out_features for _, linear in group]
    with graph.graph.inserting_after(tokens):
        merged = graph.graph.call_module(name, (tokens,))
    with graph.graph.inserting_after(merged):
        parts = graph.graph.call_function(torch.split, (merged, sizes, -1))
    at = parts
    for i, (node, _) in enumerate(group):
        with graph.graph.inserting_after(at):
            at = part = graph.graph.call_function(operator.getitem, (parts, i))
        if node.args[0] is not tokens:
            with graph.graph.inserting_after(at):
                at = part = graph.graph.call_function(operator.getitem, (part, FIRST_TOKEN))
        node.replace_all_uses_with(part)
        graph.graph.erase_node(node)

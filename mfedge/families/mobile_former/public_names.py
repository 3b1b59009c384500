"""The public Mobile-Former release names its checkpoint's entries otherwise than `mfedge.nn` does: one table says how.

Everything that is not in the table is spelled the same in both.
"""

from __future__ import annotations

from typing import Any

from mfedge.families.mobile_former.spec import MobileFormerSpec

# Prefix in the public release → prefix here, for the whole network and within a block of each kind.
# In the release `local_global` is Mobile→Former, `global_block` Former, `global_local` Mobile←Former.
_BRIDGE = {
    "local_global.q": "mobile_to_former.query",
    "local_global.alpha.0": "mobile_to_former.gate.0",
    "local_global.proj": "mobile_to_former.project",
    "local_global.layer_norm": "mobile_to_former.norm",
    "global_block.q": "former.query",
    "global_block.channel_mlp": "former.project",
    "global_block.layer_norm": "former.norm",
    "global_block.ffn.0": "former.ffn.expand",
    "global_block.ffn.2": "former.ffn.project",
    "global_block.ffn_norm": "former.ffn.norm",
    "global_local.k": "former_to_mobile.key",
    "global_local.proj": "former_to_mobile.value",
}
PUBLIC_NAMES: dict[str, dict[str, str]] = {
    "network": {
        "stem.0": "stem.0.conv",
        "stem.1": "stem.0.norm",
        "local_global.q": "mobile_to_former.query",
        "local_global.alpha.0": "mobile_to_former.gate.0",
        "local_global.proj": "mobile_to_former.project",
        "local_global.layer_norm": "mobile_to_former.norm",
        "classifier.conv.1": "classifier.conv.conv",
        "classifier.conv.2": "classifier.conv.norm",
        "classifier.fc.0": "classifier.hidden",
        "classifier.fc.1": "classifier.norm",
        "classifier.classifier.1": "classifier.classify",
    },
    "bneck-lite": {
        "conv.0": "mobile.depthwise.conv",
        "conv.1": "mobile.depthwise.norm",
        "conv.4": "mobile.project.conv",
        "conv.5": "mobile.project.norm",
    },
    "mobile-former": {
        **_BRIDGE,
        "conv1.0": "mobile.expand.conv",
        "conv1.1": "mobile.expand.norm",
        "hyper1.hyper": "mobile.act1.hyper",
        "conv2.0": "mobile.depthwise.conv",
        "conv2.1": "mobile.depthwise.norm",
        "hyper2.hyper": "mobile.act2.hyper",
        "conv3.0": "mobile.project.conv",
        "conv3.1": "mobile.project.norm",
    },
    "mobile-former-down": {
        **_BRIDGE,
        "conv1.0": "mobile.depthwise1.conv",
        "conv1.1": "mobile.depthwise1.norm",
        "hyper1.hyper": "mobile.act1.hyper",
        "conv2.0": "mobile.project1.conv",
        "conv2.1": "mobile.project1.norm",
        "conv3.0": "mobile.depthwise2.conv",
        "conv3.1": "mobile.depthwise2.norm",
        "hyper3.hyper": "mobile.act2.hyper",
        "conv4.0": "mobile.project2.conv",
        "conv4.1": "mobile.project2.norm",
    },
}


def from_public_names(spec: MobileFormerSpec, state: dict[str, Any]) -> dict[str, Any]:
    """Rename the public release's entries (tensors by name) to ours; a state dict with our names passes unchanged."""
    if "tokens.weight" not in state and not any(key.startswith(("features.", "local_global.")) for key in state):
        return state
    prefixes = dict(PUBLIC_NAMES["network"])
    for i, block in enumerate(spec.blocks):
        names = PUBLIC_NAMES[str(block.__struct_config__.tag)]
        prefixes |= {f"features.{i}.{public}": f"blocks.{i}.{ours}" for public, ours in names.items()}
    renamed = {}
    for key, tensor in state.items():
        if key == "tokens.weight":  # an embedding table (M, D); here with the batch axis it is broadcast along
            renamed["tokens"] = tensor.unsqueeze(0)
            continue
        parts = key.split(".")
        for length in range(len(parts), 0, -1):
            prefix = ".".join(parts[:length])
            if prefix in prefixes:
                key = ".".join([prefixes[prefix], *parts[length:]])
                break
        renamed[key] = tensor
    return renamed

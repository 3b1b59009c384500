"""Pickles, and the zip archives that PyTorch keeps them in, changed at the level of opcodes and entries."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import zipfile

from tests.fuzz import octets, values

GLOBALS = (
    "os system", "posix system", "builtins exec", "builtins eval", "builtins getattr", "builtins open",
    "torch load", "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_qtensor",
    "torch._utils _rebuild_meta_tensor_no_storage",
    "torch._tensor _rebuild_from_type_v2", "torch.storage _load_from_bytes", "torch FloatStorage", "torch LongStorage",
    "torch ComplexFloatStorage", "torch BFloat16Storage", "torch QInt8Storage", "torch.storage UntypedStorage",
    "collections OrderedDict", "collections Counter", "argparse Namespace", "numpy.core.multiarray _reconstruct",
    "torch float8_e4m3fn", "torch Size", "torch device", "torch.nn.parameter Parameter", "builtins set",
    "mfedge.files write",
)  # fmt: skip
OPCODES = [bytes([ord(op.code)]) for op in pickletools.opcodes]
INTEGERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"})


def pickled(data: bytes, generator: random.Random, most: int = 4) -> bytes:
    """A pickle with some opcodes changed: other globals, other integers, opcodes left out, doubled, made up."""
    try:
        starts = [(op.name, at) for op, _, at in pickletools.genops(data)]
    except (ValueError, IndexError, struct.error, UnicodeDecodeError, OverflowError):
        return octets.changed(data, generator)
    ends = [at for _, at in starts[1:]] + [len(data)]
    parts = [(name, data[at:end]) for (name, at), end in zip(starts, ends, strict=True)]
    for _ in range(generator.randint(1, most)):
        i = generator.randrange(len(parts))
        choice = generator.randrange(9)
        if choice < 3:  # sizes, strides and offsets of tensors are integers
            found = [k for k, (name, _) in enumerate(parts) if name in INTEGERS]
            if found:
                parts[generator.choice(found)] = "LONG1", _long(values.integer(generator))
        elif choice == 3:
            found = [k for k, (name, _) in enumerate(parts) if name == "GLOBAL"]
            if found:
                parts[generator.choice(found)] = _global(generator)
        elif choice == 4:
            del parts[i]
            parts = parts or [("STOP", b".")]
        elif choice == 5:
            parts.insert(i, parts[generator.randrange(len(parts))])
        elif choice == 6:
            parts.insert(i, ("", generator.choice(OPCODES)))
        elif choice == 7:
            text = values.text(generator).encode("utf-8", "surrogatepass")
            parts[i] = "BINUNICODE", b"X" + struct.pack("<I", len(text)) + text
        else:
            parts[i] = parts[i][0], octets.changed(parts[i][1], generator, 1)
    return b"".join(part for _, part in parts)


def _long(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data if len(data) < 256 else b"K\0"


def _global(generator: random.Random) -> tuple[str, bytes]:
    module, _, name = generator.choice(GLOBALS).partition(" ")
    return "GLOBAL", f"c{module}\n{name}\n".encode()


def running(canary: str, generator: random.Random) -> bytes:
    """A pickle that makes the file `canary` if anything in it is executed."""
    command = f"touch {canary}"
    call = generator.choice((
        f"cos\nsystem\n(V{command}\ntR.", f"cposix\nsystem\n(V{command}\ntR.", f"(V{command}\nios\nsystem\n.",
        f"cbuiltins\nopen\n(V{canary}\nVw\ntR.", f"cbuiltins\nexec\n(Vopen('{canary}', 'w')\ntR.",
        f"cargparse\nNamespace\n)R}}(Vx\ncos\nsystem\n(V{command}\ntRsb.",
        f"ctorch.storage\n_load_from_bytes\n(cos\nsystem\n(V{command}\ntRtR.",
    ))  # fmt: skip
    return b"\x80\x02" + call.encode()


def bomb(generator: random.Random) -> bytes:
    """A few bytes that stand for many: lists of lists, a string that is not there, tuples without end."""
    choice = generator.randrange(5)
    if choice == 0:  # every level holds the one before it twice
        levels = b"".join(b"(h" + bytes([i]) + b"h" + bytes([i]) + b"lq" + bytes([i + 1]) for i in range(60))
        return b"\x80\x02]q\0" + levels + b"."
    if choice == 1:
        return b"\x80\x04\x8d" + struct.pack("<Q", generator.choice((2**31, 2**40, 2**63 - 1))) + b"a."
    if choice == 2:
        return b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b"."
    if choice == 3:
        return b"\x80\x02K\x01r\xff\xff\xff\x7f."  # LONG_BINPUT: a memo of two billion
    return b"\x80\x02(" + b"K\x01" * 2_000_000 + b"l."


def archive(data: bytes, generator: random.Random, canary: str) -> bytes:
    """A torch file whose entries are changed; bombs and code among them."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        entries = [(info.filename, source.read(info)) for info in source.infolist()]
    compression = zipfile.ZIP_STORED
    for _ in range(generator.randint(1, 2)):
        index = next((k for k, (name, _) in enumerate(entries) if name.endswith("/data.pkl")), 0)
        i = generator.randrange(len(entries))
        name, content = entries[i]
        choice = generator.randrange(10)
        if choice < 4:
            entries[index] = entries[index][0], pickled(entries[index][1], generator)
        elif choice == 4:
            entries[index] = entries[index][0], running(canary, generator)
        elif choice == 5:
            entries[index] = entries[index][0], bomb(generator)
        elif choice == 6:
            other = (b"", content[: len(content) // 2], content * 3, octets.changed(content, generator))
            entries[i] = name, generator.choice(other)
        elif choice == 7:
            entries[i] = generator.choice((values.text(generator) or "x", "archive/constants.pkl", "../x")), content
        elif choice == 8:
            entries[i] = name, bytes(1 << 24 if generator.random() < 0.95 else 400 << 20)
            compression = zipfile.ZIP_DEFLATED
        else:
            del entries[i]
            entries = entries or [(name, content)]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression, compresslevel=1) as target:
        for name, content in entries:
            target.writestr(zipfile.ZipInfo(name.encode("utf-8", "replace").decode()), content, compression)
    return made.getvalue()

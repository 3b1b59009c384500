"""The C++ sample an app starts from loads a native file and computes what mfedge does.

onnxruntime's wheel has its library and not its header, so main.cpp is compiled against one made here: the slots of the
function table that it uses, at the places where the public onnxruntime_c_api.h has them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mfedge import runtimes
from mfedge.deploy import deploy, trace
from mfedge.kernels import find as native
from tests.conftest import network
from tests.support.models import logits
from tests.support.models import write as write_model

SAMPLES = Path(__file__).parents[2] / "export" / "samples" / "onnxruntime"
COMPILER = shutil.which("g++") or shutil.which("clang++")

pytestmark = pytest.mark.skipif(native.find("onnxruntime") is None, reason="native kernels are not built")

SLOTS = {
    2: "const char* (*GetErrorMessage)(const OrtStatus*)",
    3: "OrtStatus* (*CreateEnv)(int, const char*, OrtEnv**)",
    7: "OrtStatus* (*CreateSession)(const OrtEnv*, const char*, const OrtSessionOptions*, OrtSession**)",
    9: "OrtStatus* (*Run)(OrtSession*, const void*, const char* const*, const OrtValue* const*, size_t,"
    " const char* const*, size_t, OrtValue**)",
    10: "OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**)",
    24: "OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int)",
    49: "OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t,"
    " ONNXTensorElementDataType, OrtValue**)",
    51: "OrtStatus* (*GetTensorMutableData)(OrtValue*, void**)",
    64: "OrtStatus* (*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo*, size_t*)",
    65: "OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**)",
    69: "OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**)",
    92: "void (*ReleaseEnv)(OrtEnv*)",
    93: "void (*ReleaseStatus)(OrtStatus*)",
    94: "void (*ReleaseMemoryInfo)(OrtMemoryInfo*)",
    95: "void (*ReleaseSession)(OrtSession*)",
    96: "void (*ReleaseValue)(OrtValue*)",
    99: "void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*)",
    100: "void (*ReleaseSessionOptions)(OrtSessionOptions*)",
    228: "OrtStatus* (*RegisterCustomOpsLibrary_V2)(OrtSessionOptions*, const char*)",
}
OPAQUE = ("Env", "MemoryInfo", "Session", "SessionOptions", "Status", "TensorTypeAndShapeInfo", "Value")


def header() -> str:
    lines = ["#pragma once", "#include <cstddef>", "#include <cstdint>", "#define ORT_API_VERSION 20", 'extern "C" {']
    lines += [f"struct Ort{name};" for name in OPAQUE]
    lines += [
        "enum { ORT_LOGGING_LEVEL_ERROR = 3 };",
        "enum OrtAllocatorType { OrtArenaAllocator = 1 };",
        "enum OrtMemType { OrtMemTypeDefault = 0 };",
        "enum ONNXTensorElementDataType { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1 };",
        "struct OrtApi {",
    ]
    at = 0
    for slot, declaration in SLOTS.items():
        lines += [f"void* skipped{at}[{slot - at}];"] if slot > at else []
        lines.append(f"{declaration};")
        at = slot + 1
    lines.append("};")
    lines.append("struct OrtApiBase { const OrtApi* (*GetApi)(uint32_t); const char* (*GetVersionString)(); };")
    lines.append("const OrtApiBase* OrtGetApiBase();")
    return "\n".join([*lines, "}", ""])


@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs g++ or clang++")
def test_the_cpp_sample_computes_the_same(tmp_path: Path) -> None:
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    (tmp_path / "onnxruntime_c_api.h").write_text(header())
    main = tmp_path / "main"
    flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}", f"-Wl,-rpath,{tmp_path}")
    sources = (SAMPLES / "main.cpp", tmp_path / "libonnxruntime.so.1")
    subprocess.run([str(COMPILER), *flags, *sources, "-o", main], check=True)
    model = tmp_path / "model.onnx"
    write_model(trace(deploy(network("26m"), kernels="native"), 224, 256, dynamic=True), model)
    images = np.random.default_rng(7).standard_normal((1, 3, 97, 65)).astype(np.float32)
    images.tofile(tmp_path / "image.f32")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(main), *map(str, arguments)], capture_output=True, text=True)

    result = run(model, native.path("onnxruntime"), 97, 65, tmp_path / "image.f32")
    assert result.returncode == 0, result.stderr
    found = logits(runtimes.load(model), images)[0]
    top = np.argsort(found)[:-6:-1]
    assert result.stdout.splitlines() == [f"{i} {found[i]:.6f}" for i in top]
    assert run(model, tmp_path / "missing.so", 97, 65).returncode == 1
    assert "mfedge.Stem" in run(model, native.path("onnxruntime"), 0, 65).stderr

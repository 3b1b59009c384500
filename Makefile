# Thin verbs; everything else is in pyproject.toml. PYTHON picks the interpreter that .venv is made with.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Errors only: what else pip warns of is not of our making.
INSTALL := pip install --quiet --quiet --disable-pip-version-check
PIP := $(BIN)/$(INSTALL)

.PHONY: setup setup-aarch64 native demo test test-all test-aarch64 test-tflite-runtime test-onnxruntime-oldest fuzz faults gate check bench clean

NATIVE := mfedge/kernels
NATIVE_SOURCES := $(NATIVE)/CMakeLists.txt $(foreach suffix,cpp h inc cmake,$(wildcard $(NATIVE)/*/*.$(suffix)))

setup: $(VENV)/.installed

# With the native kernels, if there is a C++ compiler; `mfedge doctor` says whether.
$(VENV)/.installed: pyproject.toml hatch_build.py $(NATIVE_SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[dev]'
	touch $@

# What `mfedge count --on cortex-a76` needs under build/: a Python and the runtimes for 64-bit ARM, the kernels cross-compiled.
# Run again, it compiles what has changed.
setup-aarch64: setup
	$(BIN)/python -m mfedge.bench.count.setup build/aarch64

# While working on the kernels: compiles what has changed, with warnings as errors.
native:
	PATH="$(abspath $(BIN)):$$PATH" cmake -S $(NATIVE) -B build/native -DMFEDGE_WERROR=ON \
	    -DCMAKE_BUILD_TYPE=Release -DPython3_EXECUTABLE=$(abspath $(BIN))/python
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/native --parallel 2
	touch $(VENV)/.installed

demo: setup
	PATH="$(abspath $(BIN)):$$PATH" sh tests/demo.sh

test: setup
	$(BIN)/python -m pytest -m "not slow" -n 2

test-all: setup
	$(BIN)/python -m pytest -n 2

# Hostile files of every kind, for so long; what fails is kept in build/fuzz/, with the line that repeats it.
MINUTES ?= 30
fuzz: setup
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# The C++ tests compiled for 64-bit ARM, under emulation, and whole models in the runtimes' wheels for 64-bit ARM.
test-aarch64: setup-aarch64
	$(BIN)/python -m pytest tests/kernels/test_native.py -k aarch64 -rs -m ""
	$(BIN)/python -m pytest tests/bench/test_count_run.py -k 64_bit_arm -rs -m "" -n 2

# Shipped apps still embed tflite-runtime 2.14, which needs numpy < 2: an environment of its own.
test-tflite-runtime: setup
	$(PYTHON) -m venv $(VENV)-tflite-runtime
	$(VENV)-tflite-runtime/bin/$(INSTALL) 'tflite-runtime==2.14.0' 'numpy<2'
	$(BIN)/python -m tests.tflite_runtime.make build/tflite-runtime
	$(VENV)-tflite-runtime/bin/python tests/tflite_runtime/run.py build/tflite-runtime

# The oldest onnxruntime that pyproject.toml allows runs the same files, native operators included.
test-onnxruntime-oldest: setup
	$(PYTHON) -m venv $(VENV)-onnxruntime-oldest
	$(VENV)-onnxruntime-oldest/bin/$(INSTALL) 'onnxruntime==1.22.0' 'numpy>=2'
	$(BIN)/python -m tests.onnxruntime_oldest.make build/onnxruntime-oldest
	$(VENV)-onnxruntime-oldest/bin/python tests/onnxruntime_oldest/run.py build/onnxruntime-oldest

# Signals at random moments of every command, disks that fail at every operation, few open files, two at once.
MOMENTS ?= 200
DISKS ?= 25
faults: setup
	$(BIN)/python -m tests.faults --moments $(MOMENTS) --disks $(DISKS)

# The deterministic part of the latency gate on this project's own artifacts: operators, MAdds, bytes, activations.
gate: setup
	$(BIN)/mfedge export --variant 214m --format onnx --format openvino --format tflite --output build/gate
	for format in onnx openvino tflite; do $(BIN)/mfedge gate --figures-only \
	    benchmarks/baselines/mobile-former-214m-$$format.json \
	    build/gate/mobile-former-214m-224x224-fp32-$$format || exit $$?; done

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/mfedge bench --suite crossover

clean:
	rm -rf build dist artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Thin verbs; everything else is in pyproject.toml. PYTHON picks the interpreter that .venv is made with.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-all test-tflite-runtime gate check bench clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup
	PATH="$(abspath $(BIN)):$$PATH" sh tests/demo.sh

test: setup
	$(BIN)/python -m pytest -m "not slow" -n 2

test-all: setup
	$(BIN)/python -m pytest -n 2

# Shipped apps still embed tflite-runtime 2.14, which needs numpy < 2: an environment of its own.
test-tflite-runtime: setup
	$(PYTHON) -m venv $(VENV)-tflite-runtime
	$(VENV)-tflite-runtime/bin/pip install --quiet --disable-pip-version-check 'tflite-runtime==2.14.0' 'numpy<2'
	$(BIN)/python -m tests.tflite_runtime.make build/tflite-runtime
	$(VENV)-tflite-runtime/bin/python tests/tflite_runtime/run.py build/tflite-runtime

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

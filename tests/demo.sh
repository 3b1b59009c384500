#!/bin/sh
# What `make demo` shows: one network, three formats, each proven; one photograph through all of them.
set -eu
out=artifacts/demo
mfedge export --variant 214m --format onnx --format openvino --format tflite --output "$out"
photo=$(python -c "from mfedge.artifacts.parity import photograph; print(photograph())")
for format in onnx openvino tflite; do
    echo
    echo "$format:"
    mfedge predict "$out/mobile-former-214m-224x224-fp32-$format" "$photo" --top 3
done
echo
echo "Where Mobile-Former overtakes MobileNetV3, quickly (the full run: mfedge bench --sizes 224..1024):"
mfedge bench --suite demo --output "$out/crossover"
echo "chart: $out/crossover/chart.png"

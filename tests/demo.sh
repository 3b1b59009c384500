#!/bin/sh
# What `make demo` shows: one network, three formats, each proven; one photograph through all of them; the crossover.
set -eu
out=artifacts/demo
mfedge export --variant 214m --format onnx --format openvino --format tflite --output "$out"
photo=$(python -c "from mfedge.data.images import photograph; print(photograph())")
for format in onnx openvino tflite; do
    echo
    echo "$format:"
    mfedge predict "$out/mobile-former-214m-224x224-fp32-$format" "$photo" --top 3
done
echo
echo "Mobile-Former with native kernels and without, against MobileNetV3, quickly (the full run: --suite native):"
if python -c "import sys; from mfedge.kernels.find import find; sys.exit(find('kernels') is None)"; then
    mfedge bench --suite demo --output "$out/crossover"
else
    echo "The native kernels are not built (mfedge doctor says why), so only the portable files are measured."
    mfedge bench --suite demo --models mobile-former-214m,mobilenet-v3-large --output "$out/crossover"
fi
echo "chart: $out/crossover/chart.png"

// Loads a native artifact in OpenVINO and runs it: what an app does.
//
// Needs the OpenVINO that libmfedge_openvino.so was built for (its Python package and its archives have headers and
// library), and that library beside the app. Nothing of mfedge is linked.
//
//   g++ -std=c++17 main.cpp -o main -I"$OPENVINO/include" "$OPENVINO"/libs/libopenvino.so.* -Wl,-rpath,"$OPENVINO/libs"
//   ./main model.xml ./libmfedge_openvino.so 224 224 [image.f32]
//
// image.f32 is the preprocessed image (see the artifact's manifest.json), 3 x height x width floats; grey without it.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <numeric>
#include <vector>

#include <openvino/openvino.hpp>

static int run(char** arguments, const char* image) {
  // Once: a core that knows the native operators, and the compiled model. Each thread takes a request of its own.
  ov::Core core;
  core.add_extension(arguments[2]);  // without this line the file does not load
  ov::CompiledModel model = core.compile_model(arguments[1], "CPU", ov::inference_num_threads(1), ov::num_streams(1),
                                               ov::hint::inference_precision(ov::element::f32));
  ov::InferRequest request = model.create_infer_request();

  // For each image: fill a tensor, run, read the logits.
  ov::Tensor pixels(ov::element::f32, {1, 3, std::stoul(arguments[3]), std::stoul(arguments[4])});
  std::fill_n(pixels.data<float>(), pixels.get_size(), 0.f);
  if (image != nullptr) {
    std::ifstream file(image, std::ios::binary);
    if (!file.read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(pixels.get_byte_size()))) {
      std::fprintf(stderr, "%s: expected %zu floats\n", image, pixels.get_size());
      return 1;
    }
  }
  request.set_input_tensor(pixels);
  request.start_async();  // infer() of OpenVINO 2026.4 keeps an operation's error to itself
  request.wait();

  const ov::Tensor logits = request.get_output_tensor();
  const float* scores = logits.data<float>();
  std::vector<size_t> order(logits.get_size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t top = std::min<size_t>(5, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top), order.end(),
                    [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  for (size_t i = 0; i < top; ++i) std::printf("%zu %.6f\n", order[i], scores[order[i]]);
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: main MODEL LIBRARY HEIGHT WIDTH [IMAGE]\n");
    return 2;
  }
  try {
    return run(argv, argc > 5 ? argv[5] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

// Loads a native artifact in onnxruntime and runs it: what an app does, with the C API alone.
//
// Needs onnxruntime's header and library (its release archives and its Android package have both), 1.20 or newer, and
// libmfedge_onnxruntime.so beside the app. Nothing of mfedge is linked.
//
//   g++ -std=c++17 main.cpp -o main -I"$ORT/include" -L"$ORT/lib" -lonnxruntime
//   ./main model.onnx ./libmfedge_onnxruntime.so 224 224 [image.f32]
//
// image.f32 is the preprocessed image (see the artifact's manifest.json), 3 x height x width floats; grey without it.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

static const OrtApi* ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);

static void check(OrtStatus* status) {
  if (status == nullptr) return;
  std::fprintf(stderr, "%s\n", ort->GetErrorMessage(status));
  ort->ReleaseStatus(status);
  std::exit(1);
}

int main(int argc, char** argv) {
  if (argc < 5 || ort == nullptr) {
    std::fprintf(stderr, "usage: main MODEL LIBRARY HEIGHT WIDTH [IMAGE]\n");
    return 2;
  }
  const int64_t shape[] = {1, 3, std::atoll(argv[3]), std::atoll(argv[4])};
  std::vector<float> pixels(static_cast<size_t>(3 * shape[2] * shape[3]));
  if (argc > 5) {
    std::FILE* file = std::fopen(argv[5], "rb");
    if (file == nullptr || std::fread(pixels.data(), sizeof(float), pixels.size(), file) != pixels.size()) {
      std::fprintf(stderr, "%s: expected %zu floats\n", argv[5], pixels.size());
      return 1;
    }
    std::fclose(file);
  }

  // Once: the environment, and a session that knows the native operators. Sessions may be run by several threads.
  // Without this variable, onnxruntime keeps an id of the device in the user's cache folder, and looks up the server that
  // it sends events to.
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  OrtEnv* env = nullptr;
  OrtSessionOptions* options = nullptr;
  OrtSession* session = nullptr;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "app", &env));
  check(ort->CreateSessionOptions(&options));
  check(ort->SetIntraOpNumThreads(options, 1));  // the native operators run on the thread that calls
  check(ort->RegisterCustomOpsLibrary_V2(options, argv[2]));  // without this line the file does not load
  check(ort->CreateSession(env, argv[1], options, &session));
  ort->ReleaseSessionOptions(options);

  // For each image: wrap it, run, read the logits.
  OrtMemoryInfo* memory = nullptr;
  OrtValue *input = nullptr, *output = nullptr;
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  check(ort->CreateTensorWithDataAsOrtValue(memory, pixels.data(), pixels.size() * sizeof(float), shape, 4,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
  const char *images = "images", *logits = "logits";
  check(ort->Run(session, nullptr, &images, &input, 1, &logits, 1, &output));

  OrtTensorTypeAndShapeInfo* info = nullptr;
  size_t classes = 0;
  float* scores = nullptr;
  check(ort->GetTensorTypeAndShape(output, &info));
  check(ort->GetTensorShapeElementCount(info, &classes));
  check(ort->GetTensorMutableData(output, reinterpret_cast<void**>(&scores)));
  std::vector<size_t> order(classes);
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t top = std::min<size_t>(5, classes);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top), order.end(),
                    [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  for (size_t i = 0; i < top; ++i) std::printf("%zu %.6f\n", order[i], scores[order[i]]);

  ort->ReleaseTensorTypeAndShapeInfo(info);
  ort->ReleaseValue(output);
  ort->ReleaseValue(input);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseSession(session);
  ort->ReleaseEnv(env);
  return 0;
}

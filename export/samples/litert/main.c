/* Logits of one image by a .tflite with native operators, in LiteRT's CompiledModel API: what an app does, in plain C.
 *
 * Needs libLiteRt (tested with 2.3; of LiteRT's Android or iOS package, or its Python wheel) and libmfedge_litert:
 *
 *   NATIVE=../../../mfedge/kernels
 *   cc -std=c11 main.c -o main -I$NATIVE/include -I$NATIVE/bindings -L$NATIVE/lib -lmfedge_litert -L$LITERT -lLiteRt
 *   ./main model.tflite 224 224 < image.f32 > logits.f32
 *
 * image.f32 is the preprocessed image (see the artifact's manifest.json), height x width x 3 floats. A portable .tflite
 * runs as well: it has no use for the kernels. */
#include <stdio.h>
#include <stdlib.h>

#include "litert.h"
#include "litert_subset.h"

static mfedge_litert* kernels;

/* Leaves the program with one line: mfedge's own reason if it has one, else LiteRT's status. */
static void check(LiteRtStatus status, const char* what) {
  const char* reason = kernels ? mfedge_litert_error(kernels) : NULL;
  if (status == 0 && reason == NULL) return;
  if (reason) fprintf(stderr, "%s: %s\n", what, reason);
  else fprintf(stderr, "%s: LiteRT status %d\n", what, status);
  exit(1);
}

static LiteRtTensorBuffer make_buffer(LiteRtEnvironment environment, LiteRtLayout layout, size_t* count) {
  LiteRtRankedTensorType type = {kLiteRtElementTypeFloat32, layout};
  LiteRtTensorBuffer buffer;
  *count = 1;
  for (unsigned int i = 0; i < layout.rank; ++i) *count *= (size_t)layout.dimensions[i];
  check(LiteRtCreateManagedTensorBuffer(environment, kLiteRtTensorBufferTypeHostMemory, &type, 4 * *count, &buffer),
        "buffer");
  return buffer;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s MODEL.tflite HEIGHT WIDTH < image > logits\n", argv[0]);
    return 2;
  }
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  check(LiteRtCreateEnvironment(0, NULL, &environment), "environment");
  check(LiteRtCreateModelFromFile(environment, argv[1], &model), argv[1]);
  check(LiteRtCreateOptions(&options), "options");
  check(LiteRtSetOptionsHardwareAccelerators(options, kLiteRtHwAcceleratorCpu), "options");

  /* All that the native operators need: */
  const mfedge_litert_functions functions = MFEDGE_LITERT_FUNCTIONS;
  char message[MFEDGE_MESSAGE] = "out of memory";
  kernels = mfedge_litert_create(&functions);
  if (kernels == NULL || mfedge_litert_register(kernels, options, message) != MFEDGE_OK) {
    fprintf(stderr, "mfedge: %s\n", message);
    return 1;
  }
  check(LiteRtCreateCompiledModel(environment, model, options, &compiled), argv[1]);

  LiteRtLayout in, out;
  const int wanted[4] = {1, atoi(argv[2]), atoi(argv[3]), 3};
  check(LiteRtGetCompiledModelInputTensorLayout(compiled, 0, 0, &in), "input");
  if (in.dimensions[1] != wanted[1] || in.dimensions[2] != wanted[2]) { /* a model of dynamic size */
    check(LiteRtCompiledModelResizeInputTensor(compiled, 0, 0, wanted, 4), "resize");
    check(LiteRtGetCompiledModelInputTensorLayout(compiled, 0, 0, &in), "input");
  }
  check(LiteRtGetCompiledModelOutputTensorLayouts(compiled, 0, 1, &out, true), "output");

  size_t pixels, classes;
  void* address;
  LiteRtTensorBuffer images = make_buffer(environment, in, &pixels), logits = make_buffer(environment, out, &classes);
  check(LiteRtLockTensorBuffer(images, &address, kLiteRtTensorBufferLockModeWrite), "input");
  const size_t read = fread(address, 4, pixels, stdin);
  check(LiteRtUnlockTensorBuffer(images), "input");
  if (read != pixels) {
    fprintf(stderr, "image: expected %zu floats on stdin, found %zu\n", pixels, read);
    return 1;
  }
  check(LiteRtRunCompiledModel(compiled, 0, 1, &images, 1, &logits), "run");
  check(LiteRtLockTensorBuffer(logits, &address, kLiteRtTensorBufferLockModeRead), "output");
  const size_t written = fwrite(address, 4, classes, stdout);
  check(LiteRtUnlockTensorBuffer(logits), "output");

  LiteRtDestroyTensorBuffer(images);
  LiteRtDestroyTensorBuffer(logits);
  LiteRtDestroyCompiledModel(compiled); /* before the options and the kernels it refers to */
  mfedge_litert_destroy(kernels);
  LiteRtDestroyOptions(options);
  LiteRtDestroyModel(model);
  LiteRtDestroyEnvironment(environment);
  return written == classes ? 0 : 1;
}

// The C API: checks first, then one image after the other through the kernels of the CPU's instruction set.
#include <string.h>

#include <new>

#include "implementation.h"
#include "pool.h"
#include "shapes.h"

struct mfedge_operator {
  const mfedge::Kind* kind;
  mfedge_config config;
  const mfedge::Implementation* implementation;
  void* packed;
};

namespace {

int64_t elements(const mfedge_tensor& tensor) {
  int64_t count = 1;
  for (int i = 1; i < tensor.rank; ++i) count *= tensor.shape[i];
  return count;
}

}  // namespace

int32_t mfedge_abi_version(void) { return MFEDGE_ABI_VERSION; }

const char* mfedge_isa(void) { return mfedge::implementation()->name; }

int mfedge_count_weights(mfedge_kind kind, const mfedge_config* config, size_t* weights, size_t* matrices,
                         char* message) {
  const int status = mfedge::check_config(kind, *config, message);
  if (status != MFEDGE_OK) return status;
  const mfedge::Weights none = {nullptr, nullptr, MFEDGE_FLOAT32};
  const mfedge::Packing packing = mfedge::implementation()->pack(kind, *config, none, nullptr);
  *weights = packing.vectors, *matrices = packing.matrices;
  return MFEDGE_OK;
}

int mfedge_operator_create(mfedge_kind kind, const mfedge_config* config, const float* weights, size_t weight_count,
                           const void* matrices, size_t matrix_count, mfedge_type matrix_type,
                           mfedge_operator** created, char* message) {
  *created = nullptr;
  size_t expected_weights = 0, expected_matrices = 0;
  const int status = mfedge_count_weights(kind, config, &expected_weights, &expected_matrices, message);
  if (status != MFEDGE_OK) return status;
  if (weight_count != expected_weights)
    return mfedge::fail(message, "weights: expected %zu values, found %zu", expected_weights, weight_count);
  if (matrix_count != expected_matrices)
    return mfedge::fail(message, "matrices: expected %zu values, found %zu", expected_matrices, matrix_count);
  if (mfedge::element_size(matrix_type) == 0)
    return mfedge::fail(message, "matrices: expected %s, found type %d", mfedge::kTypeNames,
                        static_cast<int>(matrix_type));

  const mfedge::Implementation* implementation = mfedge::implementation();
  const mfedge::Weights given = {weights, matrices, matrix_type};
  const size_t bytes = implementation->pack(kind, *config, {nullptr, nullptr, matrix_type}, nullptr).bytes;
  void* packed = mfedge::allocate(bytes);
  mfedge_operator* made =
      new (std::nothrow) mfedge_operator{mfedge::find_kind(kind), *config, implementation, packed};
  if (!made || !packed) {
    mfedge::release(packed);
    delete made;
    mfedge::fail(message, "no memory for an operator of %zu bytes", bytes);
    return MFEDGE_NO_MEMORY;
  }
  implementation->pack(kind, *config, given, packed);
  *created = made;
  return MFEDGE_OK;
}

void mfedge_operator_destroy(mfedge_operator* op) {
  if (!op) return;
  mfedge::release(op->packed);
  delete op;
}

int32_t mfedge_operator_inputs(const mfedge_operator* op) { return op->kind->inputs(); }
int32_t mfedge_operator_outputs(const mfedge_operator* op) { return op->kind->outputs(); }

int mfedge_operator_shapes(const mfedge_operator* op, const mfedge_tensor* inputs, mfedge_tensor* outputs,
                           char* message) {
  return mfedge::infer_shapes(*op->kind, op->config, inputs, outputs, message);
}

mfedge_pool* mfedge_pool_create(void) { return new (std::nothrow) mfedge_pool; }
void mfedge_pool_destroy(mfedge_pool* pool) { delete pool; }

int mfedge_operator_run(const mfedge_operator* op, const mfedge_tensor* inputs, const mfedge_tensor* outputs,
                        mfedge_pool* pool, char* message) {
  mfedge_tensor expected[MFEDGE_MAX_OUTPUTS] = {};
  const int status = mfedge_operator_shapes(op, inputs, expected, message);
  if (status != MFEDGE_OK) return status;
  const int input_count = op->kind->inputs(), output_count = op->kind->outputs();
  for (int i = 0; i < output_count; ++i)
    if (outputs[i].rank != expected[i].rank ||
        memcmp(outputs[i].shape, expected[i].shape, sizeof(int64_t) * static_cast<size_t>(expected[i].rank)) != 0)
      return mfedge::fail(message, "output %d: not of the shape that mfedge_operator_shapes gives", i);

  const float* in[MFEDGE_MAX_INPUTS] = {};
  float* out[MFEDGE_MAX_OUTPUTS] = {};
  const mfedge::Call call = {inputs, in, out};
  const size_t bytes = op->implementation->run(op->kind->kind, op->packed, call, nullptr);
  size_t got = 0;
  void* scratch = pool->borrow(bytes ? bytes : 1, &got);
  if (!scratch) {
    mfedge::fail(message, "no memory for %zu bytes of scratch", bytes);
    return MFEDGE_NO_MEMORY;
  }
  for (int64_t b = 0; b < inputs[0].shape[0]; ++b) {
    for (int i = 0; i < input_count; ++i)
      in[i] = inputs[i].data + (inputs[i].shape[0] == 1 ? 0 : b * elements(inputs[i]));
    for (int i = 0; i < output_count; ++i) out[i] = const_cast<float*>(outputs[i].data) + b * elements(outputs[i]);
    op->implementation->run(op->kind->kind, op->packed, call, scratch);
  }
  pool->give_back(scratch, got);
  return MFEDGE_OK;
}

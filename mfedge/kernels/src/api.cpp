// The C API: checks first, then one image after the other through the kernels of the CPU's instruction set.
#include <string.h>

#include <new>

#include "../isa/float_mode.h"
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

struct Argument {
  const void* pointer;
  const char* name;
};

// Refuses the first argument that is NULL.
template <size_t N>
int check_not_null(const Argument (&arguments)[N], char* message) {
  for (const Argument& argument : arguments)
    if (!argument.pointer) return mfedge::fail(message, "%s: expected an address, found NULL", argument.name);
  return MFEDGE_OK;
}

int check_data(const mfedge_tensor* tensors, int count, size_t alignment, const char* which, char* message) {
  for (int i = 0; i < count; ++i) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(tensors[i].data);
    if (address == 0) return mfedge::fail(message, "%s %d: expected data, found NULL", which, i);
    if (address % alignment != 0)
      return mfedge::fail(message, "%s %d: expected data at a multiple of %zu bytes, found an address between", which, i,
                          alignment);
  }
  return MFEDGE_OK;
}

// What is read, where its type may lie: a model file may have its constants at any offset, and so may a runtime that
// keeps compiled models.
class Aligned {
 public:
  Aligned() : at_(nullptr) {}
  Aligned(const void* constants, size_t bytes, size_t alignment) : at_(constants) {
    if (reinterpret_cast<uintptr_t>(constants) % alignment == 0) return;
    at_ = copy_ = mfedge::allocate(bytes);
    if (copy_) memcpy(copy_, constants, bytes);
  }
  ~Aligned() { mfedge::release(copy_); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  const void* get() const { return at_; }

 private:
  const void* at_;
  void* copy_ = nullptr;
};

Aligned align(const mfedge_tensor* inputs, int i, int count) {
  if (i >= count) return {};
  const size_t values = static_cast<size_t>(inputs[i].shape[0] * elements(inputs[i]));
  return {inputs[i].data, values * sizeof(float), alignof(float)};
}

}  // namespace

int32_t mfedge_abi_version(void) { return MFEDGE_ABI_VERSION; }

const char* mfedge_isa(void) { return mfedge::implementation()->name; }

int mfedge_count_weights(mfedge_kind kind, const mfedge_config* config, size_t* weights, size_t* matrices,
                         char* message) {
  int status = check_not_null({{config, "config"}, {weights, "weights"}, {matrices, "matrices"}}, message);
  if (status == MFEDGE_OK) status = mfedge::check_config(kind, *config, message);
  if (status != MFEDGE_OK) return status;
  const mfedge::Weights none = {nullptr, nullptr, MFEDGE_FLOAT32};
  const mfedge::Packing packing = mfedge::implementation()->pack(kind, *config, none, nullptr);
  *weights = packing.vectors, *matrices = packing.matrices;
  return MFEDGE_OK;
}

int mfedge_operator_create(mfedge_kind kind, const mfedge_config* config, const float* weights, size_t weight_count,
                           const void* matrices, size_t matrix_count, mfedge_type matrix_type,
                           mfedge_operator** created, char* message) {
  int status = check_not_null({{created, "created"}}, message);
  if (status != MFEDGE_OK) return status;
  *created = nullptr;
  size_t expected_weights = 0, expected_matrices = 0;
  status = mfedge_count_weights(kind, config, &expected_weights, &expected_matrices, message);
  if (status != MFEDGE_OK) return status;
  if (weight_count != expected_weights)
    return mfedge::fail(message, "weights: expected %zu values, found %zu", expected_weights, weight_count);
  if (matrix_count != expected_matrices)
    return mfedge::fail(message, "matrices: expected %zu values, found %zu", expected_matrices, matrix_count);
  if (weight_count != 0) status = check_not_null({{weights, "weights"}}, message);
  if (matrix_count != 0 && status == MFEDGE_OK) status = check_not_null({{matrices, "matrices"}}, message);
  if (status != MFEDGE_OK) return status;
  const size_t element_size = mfedge::element_size(matrix_type);
  if (element_size == 0)
    return mfedge::fail(message, "matrices: expected %s, found type %d", mfedge::kTypeNames,
                        static_cast<int>(matrix_type));

  const mfedge::Implementation* implementation = mfedge::implementation();
  const size_t bytes = implementation->pack(kind, *config, {nullptr, nullptr, matrix_type}, nullptr).bytes;
  const Aligned vectors(weights, weight_count * sizeof(float), alignof(float));
  const Aligned rows(matrices, matrix_count * element_size, element_size);
  void* packed = mfedge::allocate(bytes);
  mfedge_operator* made =
      new (std::nothrow) mfedge_operator{mfedge::find_kind(kind), *config, implementation, packed};
  if (!made || !packed || (weights && !vectors.get()) || (matrices && !rows.get())) {
    mfedge::release(packed);
    delete made;
    mfedge::fail(message, "no memory for an operator of %zu bytes", bytes);
    return MFEDGE_NO_MEMORY;
  }
  implementation->pack(kind, *config, {static_cast<const float*>(vectors.get()), rows.get(), matrix_type}, packed);
  *created = made;
  return MFEDGE_OK;
}

void mfedge_operator_destroy(mfedge_operator* op) {
  if (!op) return;
  mfedge::release(op->packed);
  delete op;
}

int32_t mfedge_operator_inputs(const mfedge_operator* op) { return op ? op->kind->inputs() : 0; }
int32_t mfedge_operator_outputs(const mfedge_operator* op) { return op ? op->kind->outputs() : 0; }

int mfedge_operator_shapes(const mfedge_operator* op, const mfedge_tensor* inputs, mfedge_tensor* outputs,
                           char* message) {
  const int status = check_not_null({{op, "operator"}, {inputs, "inputs"}, {outputs, "outputs"}}, message);
  return status == MFEDGE_OK ? mfedge::infer_shapes(*op->kind, op->config, inputs, outputs, message) : status;
}

mfedge_pool* mfedge_pool_create(void) { return new (std::nothrow) mfedge_pool; }
void mfedge_pool_destroy(mfedge_pool* pool) { delete pool; }

int mfedge_operator_run(const mfedge_operator* op, const mfedge_tensor* inputs, const mfedge_tensor* outputs,
                        mfedge_pool* pool, char* message) {
  mfedge_tensor expected[MFEDGE_MAX_OUTPUTS] = {};
  int status = check_not_null({{outputs, "outputs"}, {pool, "pool"}}, message);
  if (status == MFEDGE_OK) status = mfedge_operator_shapes(op, inputs, expected, message);
  if (status != MFEDGE_OK) return status;
  const int input_count = op->kind->inputs(), output_count = op->kind->outputs();
  for (int i = 0; i < output_count; ++i)
    if (outputs[i].rank != expected[i].rank ||
        memcmp(outputs[i].shape, expected[i].shape, sizeof(int64_t) * static_cast<size_t>(expected[i].rank)) != 0)
      return mfedge::fail(message, "output %d: not of the shape that mfedge_operator_shapes gives", i);
  status = check_data(inputs, input_count, 1, "input", message);
  if (status == MFEDGE_OK) status = check_data(outputs, output_count, alignof(float), "output", message);
  if (status != MFEDGE_OK) return status;

  const float* in[MFEDGE_MAX_INPUTS] = {};
  float* out[MFEDGE_MAX_OUTPUTS] = {};
  const mfedge::Call call = {inputs, in, out};
  const size_t bytes = op->implementation->run(op->kind->kind, op->packed, call, nullptr);
  const Aligned from[] = {align(inputs, 0, input_count), align(inputs, 1, input_count), align(inputs, 2, input_count)};
  static_assert(sizeof from == MFEDGE_MAX_INPUTS * sizeof *from, "all inputs");
  void* scratch = pool->borrow(bytes);
  bool found = scratch != nullptr;
  for (int i = 0; i < input_count; ++i) found &= from[i].get() != nullptr;
  if (!found) {
    if (scratch) pool->give_back(scratch);
    mfedge::fail(message, "no memory for %zu bytes of scratch", bytes);
    return MFEDGE_NO_MEMORY;
  }
  {
    const mfedge::FloatMode mode;
    for (int64_t b = 0; b < inputs[0].shape[0]; ++b) {
      for (int i = 0; i < input_count; ++i)
        in[i] = static_cast<const float*>(from[i].get()) + (inputs[i].shape[0] == 1 ? 0 : b * elements(inputs[i]));
      for (int i = 0; i < output_count; ++i) out[i] = const_cast<float*>(outputs[i].data) + b * elements(outputs[i]);
      op->implementation->run(op->kind->kind, op->packed, call, scratch);
    }
  }
  pool->give_back(scratch);
  return MFEDGE_OK;
}

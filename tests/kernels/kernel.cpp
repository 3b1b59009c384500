#include "kernel.h"

#include <limits>

Result run_kernel(const Kernel& kernel, const std::vector<mfedge_plain::Array>& inputs, const Pool& pool, Against side,
                  bool poison) {
  std::vector<Guarded> buffers;
  mfedge_tensor given[MFEDGE_MAX_INPUTS] = {}, made[MFEDGE_MAX_OUTPUTS] = {};
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::vector<float> values(inputs[i].data.begin(), inputs[i].data.end());
    if (poison) values.assign(values.size(), std::numeric_limits<float>::quiet_NaN());
    buffers.emplace_back(values.data(), values.size() * sizeof(float), side);
    given[i].data = buffers.back().as();
    given[i].rank = static_cast<int32_t>(inputs[i].shape.size());
    for (size_t d = 0; d < inputs[i].shape.size(); ++d) given[i].shape[d] = inputs[i].shape[d];
  }
  Result result;
  char message[MFEDGE_MESSAGE] = "";
  result.status.code = mfedge_operator_shapes(kernel.get(), given, made, message);
  const int outputs = mfedge_operator_outputs(kernel.get());
  if (result.status.code == MFEDGE_OK) {
    for (int i = 0; i < outputs; ++i) {
      result.shapes.emplace_back(made[i].shape, made[i].shape + made[i].rank);
      buffers.emplace_back(mfedge_plain::Array::size(result.shapes.back()) * sizeof(float), side);
      made[i].data = buffers.back().as();
    }
    result.status.code = mfedge_operator_run(kernel.get(), given, made, pool.get(), message);
  }
  result.status.message = message;
  if (result.status.code == MFEDGE_OK)
    for (int i = 0; i < outputs; ++i) {
      const float* values = made[i].data;
      result.outputs.emplace_back(values, values + mfedge_plain::Array::size(result.shapes[i]));
    }
  return result;
}

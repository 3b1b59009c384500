#include "kernel.h"

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <limits>

#include "tests.h"

namespace {

// Of the largest magnitude of an output. float32 has 6e-8; a product over K terms of mixed sign loses about sqrt(K)
// of that, a block has some ten in a row, the longest of 1600 terms, and LayerNorm and the softmax amplify what they
// get by up to ten. 4e-6 is the worst of two thousand cases. A wrong tap, row, lane or weight is off by 1e-2 or more.
constexpr double kTolerance = 1e-4;
double worst = 0;

// Of finite values: relative to the largest of them. Of others: infinity for infinity, NaN for NaN.
bool compare(const std::string& name, const std::vector<double>& expected, const std::vector<float>& found,
             Undefined undefined) {
  double largest = 1e-6;
  for (const double value : expected)
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double wanted = expected[i], got = static_cast<double>(found[i]);
    if (std::isnan(wanted) && (undefined == Undefined::kAnything || std::isnan(got))) continue;
    if (std::isnan(got) && undefined == Undefined::kNanAndElsewhere) continue;
    if (std::isinf(wanted) && wanted == got) continue;
    const double difference = std::fabs(wanted - got) / largest;
    if (!(difference <= kTolerance))
      return fail(name + "[" + std::to_string(i) + "]: expected " + std::to_string(wanted) + ", found " +
                  std::to_string(got) + ", off by " + std::to_string(difference) + " of the largest value");
    worst = std::max(worst, difference);
  }
  return true;
}

// How this thread rounds, flushes and traps, with the flags of what has happened.
uint64_t float_mode() {
  std::fenv_t environment;
  std::fegetenv(&environment);
#if defined(__x86_64__)
  return environment.__mxcsr;
#else
  return uint64_t{environment.__fpcr} << 32 | environment.__fpsr;
#endif
}

}  // namespace

double worst_seen() { return worst; }

bool compare(const Case& given, const std::vector<mfedge_plain::Array>& expected, const Result& found,
             Undefined undefined) {
  if (found.outputs.size() != expected.size()) return fail("the number of outputs");
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string name = "output " + std::to_string(i);
    // Without dynamic ReLU there are no slopes: those outputs are anything.
    if (given.kind == MFEDGE_TOKENS && !given.config.hyper && (i == 1 || i == 2)) continue;
    if (found.shapes[i] != expected[i].shape) return fail(name + " is of another shape");
    if (!compare(name, expected[i].data, found.outputs[i], undefined)) return false;
  }
  return true;
}

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
      buffers.emplace_back(mfedge_plain::Array::size(result.shapes.back()) * sizeof(float),
                           side == Against::kOdd ? Against::kBack : side);
      made[i].data = buffers.back().as();
    }
    const uint64_t mode = float_mode();
    result.status.code = mfedge_operator_run(kernel.get(), given, made, pool.get(), message);
    if (float_mode() != mode) return {{-1, "the call has left another mode of float32 than it found"}, {}, {}};
  }
  result.status.message = message;
  if (result.status.code == MFEDGE_OK)
    for (int i = 0; i < outputs; ++i) {
      const float* values = made[i].data;
      result.outputs.emplace_back(values, values + mfedge_plain::Array::size(result.shapes[i]));
    }
  return result;
}

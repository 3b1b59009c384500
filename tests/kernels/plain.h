// The plain twin of mfedge_kernels.h: what every operator computes, in loops that can be read beside the paper.
//
// It is the oracle of the C++ tests, so it shares nothing with the kernels: scalar, double throughout, no packing, no
// tiles, no strips. It trusts its caller; `valid` is what a configuration has to be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mfedge_kernels.h"

namespace mfedge_plain {

// A dense row-major array of any rank.
struct Array {
  std::vector<int64_t> shape;
  std::vector<double> data;

  Array() = default;
  explicit Array(std::vector<int64_t> shape_) : shape(std::move(shape_)), data(size(shape), 0.0) {}
  static size_t size(const std::vector<int64_t>& shape) {
    size_t n = 1;
    for (int64_t extent : shape) n *= static_cast<size_t>(extent);
    return n;
  }
};

struct Counts {
  size_t weights, matrices;
};

// Whether a configuration is an operator at all.
bool valid(mfedge_kind kind, const mfedge_config& config);

// How many inputs and outputs a kind has, floats and matrix elements a valid configuration.
int input_count(mfedge_kind kind);
int output_count(mfedge_kind kind);
Counts count(mfedge_kind kind, const mfedge_config& config);

// The outputs' shapes, from the inputs'. Empty if the inputs do not fit.
std::vector<std::vector<int64_t>> shapes(mfedge_kind kind, const mfedge_config& config,
                                         const std::vector<std::vector<int64_t>>& inputs);

// The outputs. Every rounding of a float16 matrix is the caller's, before it comes here.
std::vector<Array> run(mfedge_kind kind, const mfedge_config& config, const std::vector<float>& weights,
                       const std::vector<float>& matrices, const std::vector<Array>& inputs);

}  // namespace mfedge_plain

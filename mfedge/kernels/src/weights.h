// An operator's weights: how they are read from two vectors, and how they are packed.
#pragma once

#include "implementation.h"
#include "linear.h"
#include "memory.h"

MFEDGE_BEGIN_ISA

template <class Element>
static void pack_linear_weights(const Element* weights, int in, int out, Element* packed) {
  for (int column = 0; column < out;) {
    const int width = at_most(round_up(out - column, kLanes), kBlock);
    for (int k = 0; k < in; ++k)
      for (int j = 0; j < width; ++j)
        *packed++ = column + j < out ? weights[static_cast<ptrdiff_t>(column + j) * in + k] : Element{};
    column += width;
  }
}

// Reads the two vectors of weights of an operator, in the order of mfedge_kernels.h, and counts the elements that it
// has read. Without weights it only counts.
class WeightReader {
 public:
  explicit WeightReader(const Weights& weights) : weights_(weights) {}
  size_t vectors_read() const { return vectors_read_; }
  size_t matrices_read() const { return matrices_read_; }

  const float* take(size_t count) {
    const size_t at = vectors_read_;
    vectors_read_ += count;
    return weights_.vectors ? weights_.vectors + at : nullptr;
  }
  // A vector of its own, zero-padded to whole cache lines.
  const float* vector(Arena& arena, int count) {
    const float* from = take(count);
    float* to = arena.floats(padded(count));
    if (arena.measuring()) return nullptr;
    for (int i = 0; i < padded(count); ++i) to[i] = i < count ? from[i] : 0.f;
    return to;
  }
  // The bias comes from one vector, the matrix from the other. A tile of four vectors may read past a bias.
  Linear linear(Arena& arena, int in, int out) {
    Linear layer = {in, out, weights_.type, nullptr, vector(arena, out)};
    switch (weights_.type) {
#define MFEDGE_TYPE(NAME, number, name, bytes, Element) \
  case MFEDGE_##NAME: layer.weights = matrix<Element>(arena, in, out); break;
#include "../tables/types.inc"
    }
    return layer;
  }

 private:
  template <class Element>
  const Element* matrix(Arena& arena, int in, int out) {
    const size_t at = matrices_read_;
    matrices_read_ += static_cast<size_t>(in) * out;
    Element* packed = arena.take<Element>(static_cast<size_t>(in) * round_up(out, kLanes));
    if (!arena.measuring())
      pack_linear_weights(static_cast<const Element*>(weights_.matrices) + at, in, out, packed);
    return packed;
  }

  const Weights weights_;
  size_t vectors_read_ = 0, matrices_read_ = 0;
};

MFEDGE_END_ISA

// Where packed weights and scratch live.
#pragma once

#include "../isa/isa.h"

MFEDGE_BEGIN_ISA

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector
constexpr int kLine = static_cast<int>(kAlignment / sizeof(float));

MFEDGE_INLINE int at_most(int a, int b) { return a < b ? a : b; }
MFEDGE_INLINE int at_least(int a, int b) { return a > b ? a : b; }
MFEDGE_INLINE constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }
MFEDGE_INLINE int round_up(int a, int b) { return divide_up(a, b) * b; }

// Hands out pieces of one block, in the order they will be read. Over nothing (nullptr) it only measures:
// every layout is written once, run over nothing for its size and then over memory.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
  bool measuring() const { return base_ == nullptr; }
  size_t bytes() const { return used_; }
  template <class T>
  T* take(size_t count) {
    char* at = base_ ? base_ + used_ : nullptr;
    used_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(at);
  }
  float* floats(size_t count) { return take<float>(count); }

 private:
  char* base_;
  size_t used_ = 0;
};

// `count` planes of `pixels` floats, each with a margin before and after it that a tap may read and a tile may write.
struct Planes {
  float* data;       // plane 0, pixel 0
  ptrdiff_t stride;  // floats from plane to plane: an odd number of cache lines, so that planes spread over all sets
  float* plane(int c) const { return data + c * stride; }
};
// A tile reads and writes whole blocks of pixels, and a tap reaches one row and one pixel further.
MFEDGE_INLINE Planes take_planes(Arena& arena, int count, int before, int pixels, int after) {
  const int front = round_up(before, kLine);
  const ptrdiff_t lines = ((front + round_up(pixels, kLine) + round_up(after, kLine)) / kLine) | 1;
  float* data = arena.floats(static_cast<size_t>(count * lines * kLine));
  return {data ? data + front : nullptr, lines * kLine};
}

MFEDGE_END_ISA

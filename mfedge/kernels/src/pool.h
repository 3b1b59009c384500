// See pool.cpp.
#pragma once

#include <atomic>
#include <cstddef>

#include "../include/mfedge_kernels.h"
#include "../isa/arithmetic.h"

namespace mfedge {
void* allocate(size_t bytes);  // nullptr if there is none
void release(void* memory);
}  // namespace mfedge

// Scratch buffers between runs: as many as threads ever ran at once, up to a limit. No lock guards them, as a child that
// is forked while another thread holds a lock would wait for it forever.
struct mfedge_pool {
 public:
  ~mfedge_pool();
  void* borrow(size_t bytes);  // nullptr if there is no memory
  void give_back(void* memory);

 private:
  static constexpr int kMost = 64;
  struct Buffer;
  std::atomic<Buffer*> idle_[kMost] = {};
};

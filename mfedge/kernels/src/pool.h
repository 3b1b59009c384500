// See pool.cpp.
#pragma once

#include <cstddef>
#include <mutex>

#include "../include/mfedge_kernels.h"

namespace mfedge {
void* allocate(size_t bytes);  // nullptr if there is none
void release(void* memory);
}  // namespace mfedge

// Scratch buffers between runs: as many as threads ever ran at once, up to a limit.
struct mfedge_pool {
 public:
  ~mfedge_pool();
  void* borrow(size_t bytes, size_t* got);
  void give_back(void* memory, size_t bytes);

 private:
  static constexpr int kMost = 64;
  struct Buffer {
    void* memory;
    size_t bytes;
  };
  std::mutex mutex_;
  Buffer buffers_[kMost];
  int count_ = 0;
};

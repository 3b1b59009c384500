// Memory: aligned blocks, on huge pages where the system has them, and the pool that keeps a session's scratch.
#include "pool.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace mfedge {

namespace {
constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;
}  // namespace

// Weights are streamed once an inference: on pages of 4 KiB that is thousands of misses of the address translation, and
// the hardware prefetcher stops at the end of each page.
void* allocate(size_t bytes) {
  const bool huge = bytes >= kHugePage / 2;
  const size_t alignment = huge ? kHugePage : kCacheLine;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (rounded < bytes) return nullptr;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, rounded ? rounded : alignment) != 0) return nullptr;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (huge) madvise(memory, rounded, MADV_HUGEPAGE);
#endif
  return memory;
}

void release(void* memory) { std::free(memory); }

}  // namespace mfedge

void* mfedge_pool::borrow(size_t bytes, size_t* got) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // The buffer that was used last is the one still in the cache; it is replaced if it is too small.
    if (count_ > 0) {
      const Buffer buffer = buffers_[--count_];
      if (buffer.bytes >= bytes) {
        *got = buffer.bytes;
        return buffer.memory;
      }
      mfedge::release(buffer.memory);
    }
  }
  *got = bytes;
  return mfedge::allocate(bytes);
}

void mfedge_pool::give_back(void* memory, size_t bytes) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (count_ < kMost) {
      buffers_[count_++] = {memory, bytes};
      return;
    }
  }
  mfedge::release(memory);
}

mfedge_pool::~mfedge_pool() {
  for (int i = 0; i < count_; ++i) mfedge::release(buffers_[i].memory);
}

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

// At the beginning of its own memory.
struct alignas(mfedge::kCacheLine) mfedge_pool::Buffer {
  size_t bytes;
};

// The first buffer is the one that was used last, still in the cache; it is replaced if it is too small.
void* mfedge_pool::borrow(size_t bytes) {
  for (std::atomic<Buffer*>& idle : idle_) {
    if (!idle.load(std::memory_order_relaxed)) continue;
    Buffer* buffer = idle.exchange(nullptr, std::memory_order_acquire);
    if (!buffer) continue;  // another thread was quicker
    if (buffer->bytes >= bytes) return buffer + 1;
    mfedge::release(buffer);
    break;
  }
  Buffer* made = static_cast<Buffer*>(mfedge::allocate(bytes + sizeof(Buffer)));
  if (!made) return nullptr;
  made->bytes = bytes;
  return made + 1;
}

void mfedge_pool::give_back(void* memory) {
  Buffer* buffer = static_cast<Buffer*>(memory) - 1;
  for (std::atomic<Buffer*>& idle : idle_) {
    Buffer* none = nullptr;
    if (idle.compare_exchange_strong(none, buffer, std::memory_order_release, std::memory_order_relaxed)) return;
  }
  mfedge::release(buffer);
}

mfedge_pool::~mfedge_pool() {
  for (const std::atomic<Buffer*>& idle : idle_) mfedge::release(idle.load());
}

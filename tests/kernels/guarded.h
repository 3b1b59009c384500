// A buffer between two pages that nobody may touch: a read or write outside it ends the program there and then.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// Which of its ends lies on a page's: the other has up to a page of slack. kOdd is a byte before the back.
enum class Against { kFront, kBack, kOdd };

class Guarded {
 public:
  Guarded(size_t bytes, Against side) : bytes_(bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), odd = side == Against::kOdd;
    inner_ = (bytes + odd + page - 1) / page * page;
    whole_ = inner_ + 2 * page;
    base_ = static_cast<char*>(mmap(nullptr, whole_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || (inner_ && mprotect(base_ + page, inner_, PROT_READ | PROT_WRITE) != 0)) {
      std::perror("mmap");
      std::exit(2);
    }
    data_ = base_ + page + (side == Against::kFront ? 0 : inner_ - bytes - odd);
    // NaN as float32 and float16: what is read beside the data, or not written, shows.
    std::memset(base_ + page, 0xff, inner_);
  }
  Guarded(const void* from, size_t bytes, Against side) : Guarded(bytes, side) {
    if (bytes) std::memcpy(data_, from, bytes);
    mprotect(base_ + (whole_ - inner_) / 2, inner_, PROT_READ);
  }
  Guarded(Guarded&& other) noexcept
      : base_(other.base_), data_(other.data_), bytes_(other.bytes_), inner_(other.inner_), whole_(other.whole_) {
    other.base_ = nullptr;
  }
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() {
    if (base_) munmap(base_, whole_);
  }

  template <class T = float>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  char* base_ = nullptr;
  char* data_ = nullptr;
  size_t bytes_ = 0, inner_ = 0, whole_ = 0;
};

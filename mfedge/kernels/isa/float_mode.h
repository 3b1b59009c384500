// How a thread computes with float32 during a call of the kernels: rounded to nearest, without traps, and with subnormal
// numbers taken as 0. They are slow, up to a hundred times where many meet, and what they add is below 1.2e-38.
#pragma once

#include <stdint.h>

namespace mfedge {

// Sets the mode of this thread, and puts back the one before, with the flags of exceptions that it had.
class FloatMode {
 public:
  FloatMode() : before_(read()) { write(kKernels); }  // with no flag set
  ~FloatMode() { write(before_); }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
#if defined(__x86_64__)
  using Register = uint32_t;  // MXCSR
  // All exceptions masked; results flushed to zero; operands taken as zero.
  static constexpr Register kKernels = 0x1f80 | 0x8000 | 0x0040;
  static Register read() { return __builtin_ia32_stmxcsr(); }
  static void write(Register mode) { __builtin_ia32_ldmxcsr(mode); }
#elif defined(__aarch64__)
  struct Register {
    uint64_t control, status;  // FPCR, FPSR
  };
  static constexpr Register kKernels = {uint64_t{1} << 24, 0};  // FZ flushes results and operands
  static Register read() {
    Register mode;
    asm volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(mode.control), "=r"(mode.status));
    return mode;
  }
  static void write(Register mode) {
    asm volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(mode.control), "r"(mode.status));
  }
#else
#error "mfedge has kernels for x86-64 and aarch64"
#endif

  const Register before_;
};

}  // namespace mfedge

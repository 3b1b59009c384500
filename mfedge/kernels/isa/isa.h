// The namespace of one instruction set. Code between MFEDGE_BEGIN_ISA and MFEDGE_END_ISA is compiled once for each set
// (kernels_isa.cpp), in a namespace of its own; system headers are included outside of it.
//
// Such code must not instantiate templates or inline functions of the standard library: the linker would keep one copy
// for all sets, perhaps the AVX-512 one, and a CPU without AVX-512 would run it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "arithmetic.h"

// CMake names the set. An editor that opens a header by itself gets the one that its compiler aims at.
#if !defined(MFEDGE_ISA_NAME)
#if defined(__AVX512F__)
#define MFEDGE_ISA_NAME avx512
#elif defined(__AVX2__)
#define MFEDGE_ISA_NAME avx2
#elif defined(__x86_64__)
#define MFEDGE_ISA_NAME sse2
#else
#define MFEDGE_ISA_NAME neon
#endif
#endif

#define MFEDGE_STRING_OF(text) #text
#define MFEDGE_STRING(text) MFEDGE_STRING_OF(text)
#define MFEDGE_PASTE_OF(left, right) left##right
#define MFEDGE_PASTE(left, right) MFEDGE_PASTE_OF(left, right)
// The set's own file, for a header in this folder or in src/.
#define MFEDGE_ISA_FILE MFEDGE_STRING(../isa/MFEDGE_PASTE(simd_, MFEDGE_ISA_NAME).h)

#define MFEDGE_BEGIN_ISA       \
  namespace mfedge {           \
  namespace MFEDGE_ISA_NAME {  \
  namespace {
#define MFEDGE_END_ISA \
  }                    \
  }                    \
  }

#define MFEDGE_MEMBER inline __attribute__((always_inline))
#define MFEDGE_INLINE static MFEDGE_MEMBER
#define MFEDGE_NOINLINE __attribute__((noinline))
#define MFEDGE_LAMBDA __attribute__((always_inline))

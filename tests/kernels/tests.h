// The tests, one file each. Every one returns whether it held, and has said why not.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "cases.h"

// What is being tested, for the message of a failure or a crash.
void begin(const std::string& what);
// Says why not, and returns false.
bool fail(const std::string& why);

bool test_random(uint64_t seed, int count);
bool test_cases(FILE* file);
bool test_peaks(uint64_t seed);
bool test_threads(uint64_t seed);
bool test_fork(uint64_t seed, int count);
bool test_hostile(uint64_t seed, int count);
bool test_undefined(uint64_t seed, int count);
bool test_scores(uint64_t seed, int count);
bool test_modes(uint64_t seed);
bool test_limits(uint64_t seed, int64_t pixels, int count);
bool test_channels(uint64_t seed);
// Of each instruction set: mfedge::avx2::test_simd(), ...
#define MFEDGE_ISA(name, runs) \
  namespace mfedge::name {     \
  bool test_simd(int stride);  \
  }
#include "../../mfedge/kernels/isa/isas.inc"

constexpr mfedge_kind kKinds[] = {
#define MFEDGE_KIND(NAME, ...) MFEDGE_##NAME,
#include "../../mfedge/kernels/tables/kinds.inc"
};

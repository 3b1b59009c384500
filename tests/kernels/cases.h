// What a test runs: a configuration, shapes, and a seed from which weights and inputs follow.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "plain.h"

using Random = std::mt19937_64;
int64_t between(Random& random, int64_t low, int64_t high);  // inclusive

struct Case {
  mfedge_kind kind = MFEDGE_STEM;
  mfedge_config config = {};
  int64_t batch = 1, token_batch = 1, height = 1, width = 1;
  int64_t channels = 1, tokens = 1;  // of an elementary operator, which has them from its inputs alone
  mfedge_type type = MFEDGE_FLOAT32;  // of the matrices
  bool spatial = false;              // slopes of DYNAMIC_RELU: one per pixel
  uint64_t seed = 0;

  std::string describe() const;
};

// Sizes around every block and vector width, and none that divides another.
Case random_case(mfedge_kind kind, Random& random);

// "kind batch token_batch height width type seed", then the integers of a configuration; false at the end.
bool read_case(FILE* file, Case* read);

struct Data {
  std::vector<float> weights, matrices;  // matrices already rounded, if they are float16
  std::vector<uint16_t> halves;
  std::vector<mfedge_plain::Array> inputs;  // of float32 values
};
Data make_data(const Case& given);

// tables/kinds.inc and fields.inc as C++ reads them: a row per kind of operator and per integer of its configuration.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../include/mfedge_kernels.h"
#include "../isa/arithmetic.h"

namespace mfedge {

struct Field {
  const char* name;
  int32_t mfedge_config::*member;
  char letter;
  int32_t lowest, highest;
};

constexpr Field kFields[] = {
#define MFEDGE_FIELD(name, letter, lowest, highest) {#name, &mfedge_config::name, letter, lowest, highest},
#include "../tables/fields.inc"
};
constexpr int kFieldCount = sizeof(kFields) / sizeof(Field);

enum Attributes { NO_ATTRIBUTES, HEADS_AND_SCALE, ALL_SIZES };
enum Constants { NO_WEIGHTS, VECTORS, VECTORS_AND_MATRICES };  // how many there are, of:
constexpr const char* kConstants[] = {"weights", "matrices"};

struct Port {
  const char* name;
  const char* shape;            // in the letters of kinds.inc
  const char* other = nullptr;  // another shape that it may have
};

struct Kind {
  mfedge_kind kind;
  const char* name;       // "Block"
  const char* full_name;  // "mfedge.Block"
  Attributes attributes;
  Constants constants;
  Port input[MFEDGE_MAX_INPUTS];
  Port output[MFEDGE_MAX_OUTPUTS];
  const char* rules;

  // Whether a field is an attribute of the operator.
  constexpr bool has(const Field& field) const {
    return attributes == ALL_SIZES || (attributes == HEADS_AND_SCALE && field.member == &mfedge_config::heads);
  }
  constexpr int inputs() const { return count(input, MFEDGE_MAX_INPUTS); }  // without the constants
  constexpr int outputs() const { return count(output, MFEDGE_MAX_OUTPUTS); }

 private:
  static constexpr int count(const Port* ports, int most) {
    int found = 0;
    while (found < most && ports[found].name) ++found;
    return found;
  }
};

#define MFEDGE_LIST(...) \
  { __VA_ARGS__ }
constexpr Kind kKinds[] = {
#define MFEDGE_KIND(NAME, number, Name, attributes, constants, inputs, outputs, rules) \
  {MFEDGE_##NAME, #Name, "mfedge." #Name, attributes, constants, inputs, outputs, rules},
#include "../tables/kinds.inc"
};
#undef MFEDGE_LIST
constexpr int kKindCount = sizeof(kKinds) / sizeof(Kind);

// The row of a kind; nullptr if the number is none.
inline const Kind* find_kind(mfedge_kind kind) {
  const int index = static_cast<int>(kind) - 1;
  return index >= 0 && index < kKindCount ? &kKinds[index] : nullptr;
}

namespace highest {
#define MFEDGE_FIELD(name, letter, lowest, highest) constexpr int32_t name = highest;
#include "../tables/fields.inc"
}  // namespace highest
constexpr int kMaxTokens = highest::tokens;

// The public header is plain C, to be copied alone into an app, so it has these names and numbers once more.
namespace check {
enum Index {
#define MFEDGE_FIELD(name, letter, lowest, highest) name,
#include "../tables/fields.inc"
};
#define MFEDGE_FIELD(name, letter, lowest, highest) \
  static_assert(offsetof(mfedge_config, name) == sizeof(int32_t) * name, "fields.inc and mfedge_kernels.h: " #name);
#include "../tables/fields.inc"
static_assert(sizeof(mfedge_config) == sizeof(int32_t) * kFieldCount + sizeof(float),
              "fields.inc and mfedge_kernels.h");

#define MFEDGE_KIND(NAME, number, ...)                                                    \
  static_assert(MFEDGE_##NAME == number, "kinds.inc and mfedge_kernels.h: MFEDGE_" #NAME); \
  static_assert(kKinds[number - 1].kind == number, "kinds.inc: out of order at " #NAME);
#include "../tables/kinds.inc"
#define MFEDGE_TYPE(NAME, number, ...) \
  static_assert(MFEDGE_##NAME == number, "types.inc and mfedge_kernels.h: MFEDGE_" #NAME);
#include "../tables/types.inc"
}  // namespace check

// "float32 or float16": the types of a matrix, for messages.
constexpr const char* kTypeNames = &(""
#define MFEDGE_TYPE(NAME, number, name, bytes, Element) " or " name
#include "../tables/types.inc"
                                     )[4];

// Bytes of an element of a matrix; 0 if the type is none.
inline size_t element_size(mfedge_type type) {
  switch (type) {
#define MFEDGE_TYPE(NAME, number, name, bytes, Element) \
  case MFEDGE_##NAME: return bytes;
#include "../tables/types.inc"
  }
  return 0;
}

}  // namespace mfedge

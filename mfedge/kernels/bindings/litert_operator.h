// Shared by both of LiteRT's interfaces: the names of the operators, their options, and how one is created.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "../src/kinds.h"
#include "litert_abi.h"

namespace mfedge_lite {

using mfedge::Kind;

inline int all_inputs(const Kind& kind) { return kind.inputs() + kind.constants; }

// The operator of a node called `name`, with or without its number; null if it is none of ours.
inline const Kind* find_kind(const char* name) {
  for (const Kind& kind : mfedge::kKinds) {
    const size_t length = std::strlen(kind.full_name);
    if (std::strncmp(name, kind.full_name, length) == 0 && (name[length] == 0 || name[length] == '.')) return &kind;
  }
  return nullptr;
}

// Options as they are in a file: "mfe1", then the integers and the float of mfedge_config, little-endian.
constexpr char kMagic[4] = {'m', 'f', 'e', '1'};
constexpr size_t kFields = mfedge::kFieldCount + 1, kOptionBytes = sizeof kMagic + 4 * kFields;
static_assert(sizeof(mfedge_config) == 4 * kFields, "mfedge_config has nothing but these");

inline bool parse_options(const void* options, size_t size, mfedge_config* config, char* message) {
  if (options == nullptr || size != kOptionBytes || std::memcmp(options, kMagic, sizeof kMagic) != 0) {
    std::snprintf(message, MFEDGE_MESSAGE, "expected %zu bytes of options beginning with mfe1, found %zu%s",
                  kOptionBytes, size, size == kOptionBytes ? " beginning otherwise" : "");
    return false;
  }
  const unsigned char* bytes = static_cast<const unsigned char*>(options) + sizeof kMagic;
  uint32_t fields[kFields];
  for (size_t i = 0; i < kFields; ++i, bytes += 4) {
    fields[i] = bytes[0] | uint32_t{bytes[1]} << 8 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
  }
  std::memcpy(config, fields, sizeof fields);
  return true;
}

// The type of the matrices; 0 if the kernels have no such type. TfLiteType and LiteRtElementType have the same numbers.
inline mfedge_type matrix_type(int32_t type) {
  switch (type) {
    case tflite::kFloat32: return MFEDGE_FLOAT32;
    case tflite::kFloat16: return MFEDGE_FLOAT16;
    default: return mfedge_type{};
  }
}

struct Constant {
  const void* data = nullptr;
  size_t elements = 0;
  mfedge_type type = MFEDGE_FLOAT32;
};

using Operator = std::shared_ptr<mfedge_operator>;

// Null with a message if the configuration is none or the weights do not fit it.
inline Operator create(const Kind& kind, const mfedge_config& config, const Constant& weights,
                       const Constant& matrices, char* message) {
  if (weights.type != MFEDGE_FLOAT32) {
    std::snprintf(message, MFEDGE_MESSAGE, "its weights are not float32");
    return nullptr;
  }
  mfedge_operator* created = nullptr;
  const int status = mfedge_operator_create(kind.kind, &config, static_cast<const float*>(weights.data),
                                            weights.elements, matrices.data, matrices.elements, matrices.type,
                                            &created, message);
  return status == MFEDGE_OK ? Operator(created, mfedge_operator_destroy) : nullptr;
}

inline size_t elements(const mfedge_tensor& tensor) {
  size_t count = 1;
  for (int i = 0; i < tensor.rank; ++i) count *= static_cast<size_t>(tensor.shape[i]);
  return count;
}

}  // namespace mfedge_lite

// The C API as the tests call it: an operator and its pool, freed at the end; every call between guard pages.
#pragma once

#include <string>
#include <vector>

#include "cases.h"
#include "guarded.h"

struct Status {
  int code;
  std::string message;
};

class Pool {
 public:
  Pool() : pool_(mfedge_pool_create()) {}
  ~Pool() { mfedge_pool_destroy(pool_); }
  Pool(const Pool&) = delete;
  mfedge_pool* get() const { return pool_; }

 private:
  mfedge_pool* pool_;
};

class Kernel {
 public:
  Kernel(const Case& given, const Data& data, Against side) {
    const Guarded weights(data.weights.data(), data.weights.size() * sizeof(float), side);
    const Guarded matrices = given.type == MFEDGE_FLOAT16
                                 ? Guarded(data.halves.data(), data.halves.size() * sizeof(uint16_t), side)
                                 : Guarded(data.matrices.data(), data.matrices.size() * sizeof(float), side);
    char message[MFEDGE_MESSAGE] = "";
    status.code = mfedge_operator_create(given.kind, &given.config, weights.as(), data.weights.size(),
                                         matrices.as<void>(), data.matrices.size(), given.type, &op_, message);
    status.message = message;
  }
  ~Kernel() { mfedge_operator_destroy(op_); }
  Kernel(const Kernel&) = delete;
  mfedge_operator* get() const { return op_; }

  Status status = {};

 private:
  mfedge_operator* op_ = nullptr;
};

struct Result {
  Status status;
  std::vector<std::vector<int64_t>> shapes;
  std::vector<std::vector<float>> outputs;
};

// What may stand where the twin has NaN.
enum class Undefined { kNan, kAnything, kNanAndElsewhere };

// Holds every output against the twin's, and says where one differs.
bool compare(const Case& given, const std::vector<mfedge_plain::Array>& expected, const Result& found,
             Undefined undefined = Undefined::kNan);
double worst_seen();  // of all that compare() has held

// Runs it on float32 copies of the inputs, or on NaN in their place.
Result run_kernel(const Kernel& kernel, const std::vector<mfedge_plain::Array>& inputs, const Pool& pool, Against side,
                  bool poison = false);

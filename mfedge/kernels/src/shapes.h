// Which configurations, weights and shapes are legal. Everything is checked here, before a kernel sees it.
#pragma once

#include "mfedge_kernels.h"

namespace mfedge {

// Each returns MFEDGE_OK, or MFEDGE_INVALID with a line in `message` (may be nullptr).
int check_config(mfedge_kind kind, const mfedge_config& config, char* message);
void count_weights(mfedge_kind kind, const mfedge_config& config, size_t* weights, size_t* matrices);
int infer_shapes(mfedge_kind kind, const mfedge_config& config, const mfedge_tensor* inputs, mfedge_tensor* outputs,
                 char* message);
int count_inputs(mfedge_kind kind);
int count_outputs(mfedge_kind kind);
int fail(char* message, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace mfedge

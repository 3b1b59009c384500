// Which configurations and shapes are legal. Everything is checked here, before a kernel sees it.
#pragma once

#include "kinds.h"

namespace mfedge {

// Each returns MFEDGE_OK, or MFEDGE_INVALID with a line in `message` (may be nullptr).
int check_config(mfedge_kind kind, const mfedge_config& config, char* message);
int infer_shapes(const Kind& kind, const mfedge_config& config, const mfedge_tensor* inputs, mfedge_tensor* outputs,
                 char* message);
int fail(char* message, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace mfedge

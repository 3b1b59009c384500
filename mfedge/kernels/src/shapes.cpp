// See shapes.h.
#include "shapes.h"

#include <cstdarg>
#include <cstdio>

namespace mfedge {
namespace {

constexpr int32_t kMaxChannels = 1 << 14;
constexpr int32_t kMaxTokens = 16;
constexpr int32_t kMaxHeads = 64;
constexpr int64_t kMaxPixels = int64_t{1} << 26;
constexpr int64_t kMaxBatch = 1 << 20;

struct Range {
  const char* name;
  int32_t value, low, high;
};

int check_ranges(const Range* ranges, int count, char* message) {
  for (int i = 0; i < count; ++i)
    if (ranges[i].value < ranges[i].low || ranges[i].value > ranges[i].high)
      return fail(message, "%s: expected %d to %d, found %d", ranges[i].name, ranges[i].low, ranges[i].high,
                  ranges[i].value);
  return MFEDGE_OK;
}

int check_divides(const char* name, int32_t value, const char* of, int32_t whole, char* message) {
  if (whole % value == 0) return MFEDGE_OK;
  return fail(message, "%s: expected a divisor of %s %d, found %d", name, of, whole, value);
}

int32_t second_expand(const mfedge_config& c) { return c.stride == 2 ? c.expand2 : c.expand; }

const char* name_of(mfedge_kind kind) {
  switch (kind) {
    case MFEDGE_STEM: return "Stem";
    case MFEDGE_BLOCK: return "Block";
    case MFEDGE_HEAD: return "Head";
    case MFEDGE_TOKENS: return "Tokens";
    case MFEDGE_MOBILE_TO_FORMER: return "MobileToFormer";
    case MFEDGE_FORMER_TO_MOBILE: return "FormerToMobile";
    case MFEDGE_DYNAMIC_RELU: return "DynamicRelu";
  }
  return "?";
}

// Checks one input: -1 in `expected` is any size.
int check_input(mfedge_kind kind, const char* name, const mfedge_tensor& input, int rank, const int64_t* expected,
                char* message) {
  bool fits = input.rank == rank;
  for (int i = 0; fits && i < rank; ++i)
    fits = input.shape[i] >= 1 && (expected[i] < 0 || input.shape[i] == expected[i]);
  if (fits && rank == 4)
    fits = input.shape[0] <= kMaxBatch && input.shape[1] <= kMaxChannels && input.shape[2] <= kMaxPixels &&
           input.shape[3] <= kMaxPixels && input.shape[2] * input.shape[3] <= kMaxPixels;
  if (fits) return MFEDGE_OK;
  char text[2][96];
  const int64_t* shapes[2] = {expected, input.shape};
  for (int s = 0; s < 2; ++s) {
    const int count = s == 0 ? rank : input.rank < 0 ? 0 : input.rank > 4 ? 4 : input.rank;
    int used = std::snprintf(text[s], sizeof text[s], "(");
    for (int i = 0; i < count; ++i)
      used += shapes[s][i] < 0 && s == 0
                  ? std::snprintf(text[s] + used, sizeof text[s] - used, "%s*", i ? ", " : "")
                  : std::snprintf(text[s] + used, sizeof text[s] - used, "%s%lld", i ? ", " : "",
                                  static_cast<long long>(shapes[s][i]));
    std::snprintf(text[s] + used, sizeof text[s] - used, ")");
  }
  return fail(message, "mfedge %s: %s: expected %s, found %s", name_of(kind), name, text[0], text[1]);
}

// Tokens-like input (B or 1, M, width).
int check_tokens(mfedge_kind kind, const char* name, const mfedge_tensor& input, int64_t batch, int64_t tokens,
                 int64_t width, char* message) {
  const int64_t expected[3] = {input.rank == 3 && input.shape[0] == 1 ? 1 : batch, tokens, width};
  return check_input(kind, name, input, 3, expected, message);
}

void set_shape(mfedge_tensor* output, int rank, int64_t a, int64_t b, int64_t c = 0, int64_t d = 0) {
  output->rank = rank;
  output->shape[0] = a, output->shape[1] = b, output->shape[2] = c, output->shape[3] = d;
}

// A map that is handed on to the next operator.
void set_map(mfedge_tensor* output, int64_t batch, int64_t channels, int64_t height, int64_t width) {
  set_shape(output, 4, batch, channels, height + MFEDGE_PADDING_ROWS, width);
}

}  // namespace

int fail(char* message, const char* format, ...) {
  if (message) {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(message, MFEDGE_MESSAGE, format, arguments);
    va_end(arguments);
  }
  return MFEDGE_INVALID;
}

int check_config(mfedge_kind kind, const mfedge_config& c, char* message) {
  const Range channels[] = {{"in_channels", c.in_channels, 1, kMaxChannels},
                            {"expand", c.expand, 1, kMaxChannels},
                            {"out_channels", c.out_channels, 1, kMaxChannels},
                            {"stride", c.stride, 1, 2}};
  const Range tokens[] = {{"tokens", c.tokens, 1, kMaxTokens}, {"token_dim", c.token_dim, 1, kMaxChannels}};
  const Range heads[] = {{"heads", c.heads, 1, kMaxHeads}};
  int status = MFEDGE_OK;
  switch (kind) {
    case MFEDGE_STEM:
      status = check_ranges(channels, 4, message);
      if (status == MFEDGE_OK) status = check_divides("in_channels", c.in_channels, "expand", c.expand, message);
      if (status == MFEDGE_OK) status = check_ranges(tokens, 1, message);
      if (status == MFEDGE_OK) status = check_ranges(heads, 1, message);
      if (status == MFEDGE_OK) status = check_divides("heads", c.heads, "out_channels", c.out_channels, message);
      return status;
    case MFEDGE_BLOCK:
    case MFEDGE_TOKENS: {
      const Range former[] = {{"former_heads", c.former_heads, 1, kMaxHeads},
                              {"ffn", c.ffn, 0, kMaxChannels},
                              {"hyper", c.hyper, 0, kMaxChannels},
                              {"expand2", c.expand2, c.stride == 2 ? 1 : 0, kMaxChannels}};
      status = check_ranges(channels, 4, message);
      if (status == MFEDGE_OK) status = check_ranges(tokens, 2, message);
      if (status == MFEDGE_OK) status = check_ranges(former, 4, message);
      if (status == MFEDGE_OK)
        status = check_divides("former_heads", c.former_heads, "token_dim", c.token_dim, message);
      if (status != MFEDGE_OK || kind == MFEDGE_TOKENS) return status;
      status = check_ranges(heads, 1, message);
      if (status == MFEDGE_OK) status = check_divides("heads", c.heads, "out_channels", c.out_channels, message);
      if (status == MFEDGE_OK && c.stride == 2) {
        status = check_divides("in_channels", c.in_channels, "expand", c.expand, message);
        if (status == MFEDGE_OK) status = check_divides("out_channels", c.out_channels, "expand2", c.expand2, message);
      }
      return status;
    }
    case MFEDGE_HEAD: {
      const Range head[] = {{"hidden", c.hidden, 1, 1 << 20}, {"classes", c.classes, 1, 1 << 20}};
      status = check_ranges(channels, 2, message);
      if (status == MFEDGE_OK) status = check_ranges(tokens, 2, message);
      if (status == MFEDGE_OK) status = check_ranges(head, 2, message);
      return status;
    }
    case MFEDGE_MOBILE_TO_FORMER:
    case MFEDGE_FORMER_TO_MOBILE: return check_ranges(heads, 1, message);
    case MFEDGE_DYNAMIC_RELU: return MFEDGE_OK;
  }
  return fail(message, "kind: expected %d to %d, found %d", MFEDGE_STEM, MFEDGE_DYNAMIC_RELU, static_cast<int>(kind));
}

void count_weights(mfedge_kind kind, const mfedge_config& config, size_t* weights, size_t* matrices) {
  const size_t C = config.in_channels, E = config.expand, O = config.out_channels, D = config.token_dim;
  const size_t E2 = second_expand(config), ffn = config.ffn, hyper = config.hyper;
  size_t w = 0, m = 0;
  if (kind == MFEDGE_STEM) w = C * 27 + C + E * 9 + E + O * E + O + static_cast<size_t>(config.tokens) * O;
  if (kind == MFEDGE_BLOCK)
    w = config.stride == 2 ? E * 9 + E + O * E + O + E2 * 9 + E2 + O * E2 + O : E * C + E + E * 9 + E + O * E + O;
  if (kind == MFEDGE_BLOCK) w += O, m += O * D;  // the next query
  if (kind == MFEDGE_BLOCK || kind == MFEDGE_HEAD || kind == MFEDGE_TOKENS) w += C + 3 * D, m += 2 * C * D;
  if (kind == MFEDGE_BLOCK || kind == MFEDGE_TOKENS) {
    w += 4 * D, m += 2 * D * D;
    if (ffn) w += ffn + 3 * D, m += 2 * ffn * D;
    if (hyper) w += 2 * hyper + 2 * E + 2 * E2, m += 2 * hyper * D + 2 * E * hyper + 2 * E2 * hyper;
    w += 2 * O, m += 2 * O * D;
  }
  if (kind == MFEDGE_HEAD) {
    const size_t hidden = config.hidden, classes = config.classes;
    w += E * C + E + hidden + classes, m += hidden * (E + D) + classes * hidden;
  }
  *weights = w, *matrices = m;
}

int count_inputs(mfedge_kind kind) {
  switch (kind) {
    case MFEDGE_STEM: return 1;
    case MFEDGE_TOKENS:
    case MFEDGE_MOBILE_TO_FORMER: return 2;
    default: return 3;
  }
}

int count_outputs(mfedge_kind kind) {
  switch (kind) {
    case MFEDGE_STEM: return 2;
    case MFEDGE_BLOCK: return 3;
    case MFEDGE_TOKENS: return 5;
    default: return 1;
  }
}

int infer_shapes(mfedge_kind kind, const mfedge_config& c, const mfedge_tensor* in, mfedge_tensor* out, char* message) {
  const int64_t B = in[0].shape[0], W = in[0].shape[3];
  int64_t H = in[0].shape[2];
  int status = MFEDGE_OK;
  if (kind == MFEDGE_TOKENS) {
    const int64_t attended[3] = {-1, c.tokens, c.in_channels};
    status = check_input(kind, "attended", in[0], 3, attended, message);
    if (status == MFEDGE_OK) status = check_tokens(kind, "tokens", in[1], B, c.tokens, c.token_dim, message);
    set_shape(out, 3, B, c.tokens, c.token_dim);
    set_shape(out + 1, 2, B, 2 * c.expand);
    set_shape(out + 2, 2, B, 2 * second_expand(c));
    set_shape(out + 3, 3, B, c.tokens, c.out_channels);
    set_shape(out + 4, 3, B, c.tokens, c.out_channels);
    return status;
  }
  const bool whole = kind == MFEDGE_BLOCK || kind == MFEDGE_HEAD;
  const int64_t map[4] = {-1, kind == MFEDGE_STEM ? 3 : whole ? c.in_channels : -1, -1, -1};
  status = check_input(kind, "map", in[0], 4, map, message);
  if (status != MFEDGE_OK) return status;
  const int64_t C = in[0].shape[1];
  if (whole) {
    H -= MFEDGE_PADDING_ROWS;
    if (H < 1)
      return fail(message, "mfedge %s: map: expected rows of pixels and %d of padding, found %lld rows in all",
                  name_of(kind), MFEDGE_PADDING_ROWS, static_cast<long long>(in[0].shape[2]));
    const int64_t attended[3] = {B, c.tokens, c.in_channels};
    status = check_tokens(kind, "tokens", in[1], B, c.tokens, c.token_dim, message);
    if (status == MFEDGE_OK) status = check_input(kind, "attended", in[2], 3, attended, message);
  }
  switch (kind) {
    case MFEDGE_STEM: {
      const int64_t h = (H + 1) / 2, w = (W + 1) / 2;
      set_map(out, B, c.out_channels, c.stride == 2 ? (h + 1) / 2 : h, c.stride == 2 ? (w + 1) / 2 : w);
      set_shape(out + 1, 3, B, c.tokens, c.out_channels);
      return status;
    }
    case MFEDGE_BLOCK:
      set_map(out, B, c.out_channels, c.stride == 2 ? (H + 1) / 2 : H, c.stride == 2 ? (W + 1) / 2 : W);
      set_shape(out + 1, 3, B, c.tokens, c.token_dim);
      set_shape(out + 2, 3, B, c.tokens, c.out_channels);
      return status;
    case MFEDGE_HEAD:
      set_shape(out, 2, B, c.classes);
      return status;
    case MFEDGE_MOBILE_TO_FORMER:
    case MFEDGE_FORMER_TO_MOBILE: {
      status = check_divides("heads", c.heads, "channels", static_cast<int32_t>(C), message);
      if (status == MFEDGE_OK) status = check_tokens(kind, "query or key", in[1], B, -1, C, message);
      if (status != MFEDGE_OK) return status;
      const int64_t M = in[1].shape[1];
      if (M > kMaxTokens) return fail(message, "tokens: expected 1 to %d, found %lld", kMaxTokens, (long long)M);
      if (kind == MFEDGE_MOBILE_TO_FORMER) {
        set_shape(out, 3, B, M, C);
        return status;
      }
      set_shape(out, 4, B, C, H, W);
      return check_tokens(kind, "value", in[2], B, M, C, message);
    }
    default:
      set_shape(out, 4, B, C, H, W);
      for (int i = 1; status == MFEDGE_OK && i <= 2; ++i) {
        const bool spatial = in[1].rank == 4;
        const int64_t uniform[2] = {in[i].shape[0] == 1 ? 1 : B, C};
        status = check_input(kind, i == 1 ? "slope1" : "slope2", in[i], spatial ? 4 : 2,
                             spatial ? in[0].shape : uniform, message);
      }
      return status;
  }
}

}  // namespace mfedge

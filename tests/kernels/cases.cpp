#include "cases.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>

using mfedge_plain::Array;

int64_t between(Random& random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
}

namespace {

double uniform(Random& random) { return static_cast<double>(random() >> 11) * 0x1p-52 - 1; }  // -1 to 1

int64_t one_of(Random& random, std::initializer_list<int64_t> values) {
  return values.begin()[between(random, 0, static_cast<int64_t>(values.size()) - 1)];
}

void random_image(Case& c, Random& random) {
  switch (between(random, 0, 6)) {
    case 0:
      c.height = c.width = 1;
      break;
    case 1:  // wide
      c.height = between(random, 1, 2), c.width = between(random, 30, 330);
      break;
    case 2:  // tall
      c.height = between(random, 30, 330), c.width = between(random, 1, 2);
      break;
    case 3:  // around whole vectors
      c.height = between(random, 1, 9);
      c.width = one_of(random, {4, 8, 16, 32, 48, 64}) + between(random, -1, 1);
      break;
    case 4:  // many strips
      c.height = between(random, 60, 110), c.width = between(random, 40, 100);
      break;
    default:
      c.height = between(random, 2, 40), c.width = between(random, 2, 40);
  }
}

// Fills in order what mfedge_kernels.h lists, so that every layer's output is about as large as its input.
struct Filler {
  Random& random;
  std::vector<float>& values;

  void fill(size_t count, double amplitude, double offset = 0) {
    for (size_t i = 0; i < count; ++i) values.push_back(static_cast<float>(offset + amplitude * uniform(random)));
  }
  void weight(size_t out, size_t in) { fill(out * in, std::sqrt(3.0 / static_cast<double>(in))); }
  void bias(size_t count) { fill(count, 0.5); }
  void layer(size_t out, size_t in) { weight(out, in), bias(out); }
  void norm(size_t width) { fill(width, 0.5, 1), fill(width, 0.5); }
};

void fill_weights(const Case& given, Filler f) {
  const mfedge_config& c = given.config;
  const size_t C = c.in_channels, E = c.expand, O = c.out_channels, D = c.token_dim, E2 = c.stride == 2 ? c.expand2 : E;
  if (given.kind == MFEDGE_STEM) {
    f.layer(C, 27), f.layer(E, 9), f.layer(O, E);
    f.fill(c.tokens * O, 1.7 / std::sqrt(O / c.heads));
  }
  if (given.kind == MFEDGE_BLOCK && c.stride == 1) f.layer(E, C), f.layer(E, 9), f.layer(O, E);
  if (given.kind == MFEDGE_BLOCK && c.stride == 2) f.layer(E, 9), f.layer(O, E), f.layer(E2, 9), f.layer(O, E2);
  if (given.kind == MFEDGE_BLOCK || given.kind == MFEDGE_HEAD || given.kind == MFEDGE_TOKENS) {
    f.fill(C, 1, 0.5);  // gates on both sides of both clips
    f.bias(D), f.norm(D);
  }
  if (given.kind == MFEDGE_BLOCK || given.kind == MFEDGE_TOKENS) {
    f.bias(D), f.bias(D), f.norm(D);
    if (c.ffn) f.bias(c.ffn), f.bias(D), f.norm(D);
    if (c.hyper) f.bias(c.hyper), f.bias(2 * E), f.bias(c.hyper), f.bias(2 * E2);
    f.bias(O), f.bias(O);
  }
  if (given.kind == MFEDGE_BLOCK) f.bias(O);
  if (given.kind == MFEDGE_HEAD) f.layer(E, C), f.bias(c.hidden), f.bias(c.classes);
}

void fill_matrices(const Case& given, Filler f) {
  const mfedge_config& c = given.config;
  const size_t C = c.in_channels, E = c.expand, O = c.out_channels, D = c.token_dim, E2 = c.stride == 2 ? c.expand2 : E;
  if (given.kind == MFEDGE_BLOCK || given.kind == MFEDGE_HEAD || given.kind == MFEDGE_TOKENS)
    f.weight(C, D), f.weight(D, C);
  if (given.kind == MFEDGE_BLOCK || given.kind == MFEDGE_TOKENS) {
    f.fill(D * D, 1.7 / std::sqrt(D) / std::sqrt(D / c.former_heads)), f.weight(D, D);
    if (c.ffn) f.weight(c.ffn, D), f.weight(D, c.ffn);
    if (c.hyper) f.weight(c.hyper, D), f.weight(2 * E, c.hyper), f.weight(c.hyper, D), f.weight(2 * E2, c.hyper);
    f.fill(O * D, 1.7 / std::sqrt(D) / std::sqrt(O)), f.weight(O, D);
  }
  // The query carries 1/sqrt of the head's depth.
  if (given.kind == MFEDGE_BLOCK) f.fill(O * D, 1.7 / std::sqrt(D) / std::sqrt(O / c.heads));
  if (given.kind == MFEDGE_HEAD) f.weight(c.hidden, E + D), f.weight(c.classes, c.hidden);
}

// The nearest float16 to a small value, and that value again.
uint16_t to_half(float* value) {
  int exponent = 0;
  const double magnitude = std::fabs(*value), fraction = std::frexp(magnitude, &exponent);
  uint32_t bits;
  double rounded;
  if (exponent < -13) {  // subnormal
    bits = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, 24)));
    rounded = std::ldexp(bits, -24);
  } else {
    const double q = std::nearbyint(std::ldexp(fraction, 11));  // 2048 carries into the exponent
    bits = (static_cast<uint32_t>(exponent + 14) << 10) + static_cast<uint32_t>(q) - 1024;
    rounded = std::ldexp(q, exponent - 11);
  }
  const bool negative = std::signbit(*value);
  *value = static_cast<float>(negative ? -rounded : rounded);
  return static_cast<uint16_t>(bits | (negative ? 0x8000u : 0u));
}

Array random_array(std::vector<int64_t> shape, Random& random, double amplitude = 1.7, double offset = 0) {
  Array array(std::move(shape));
  for (double& v : array.data) v = static_cast<float>(offset + amplitude * uniform(random));
  return array;
}

// Sometimes one pixel is far brighter than the rest: the softmax over pixels is then nearly one-hot.
Array random_map(const Case& c, int64_t channels, Random& random) {
  Array map = random_array({c.batch, channels, c.height, c.width}, random);
  const int64_t pixels = c.height * c.width;
  if (between(random, 0, 7) == 0) {
    const int64_t bright = between(random, 0, pixels - 1);
    for (int64_t i = bright; i < static_cast<int64_t>(map.data.size()); i += pixels) map.data[i] *= 16;
  }
  return map;
}

// As operators hand it on. What is in the padding is nothing to the next one, so here it is no number.
Array pad(const Array& map) {
  const int64_t planes = map.shape[0] * map.shape[1], pixels = map.shape[2] * map.shape[3];
  Array padded({map.shape[0], map.shape[1], map.shape[2] + MFEDGE_PADDING_ROWS, map.shape[3]});
  std::fill(padded.data.begin(), padded.data.end(), std::nan(""));
  const int64_t stride = pixels + MFEDGE_PADDING_ROWS * map.shape[3];
  for (int64_t i = 0; i < planes; ++i) std::copy_n(&map.data[i * pixels], pixels, &padded.data[i * stride]);
  return padded;
}

}  // namespace

std::string Case::describe() const {
  char text[256];
  std::snprintf(text, sizeof text,
                "kind %d, batch %" PRId64 " (tokens %" PRId64 "), %" PRId64 "x%" PRId64 ", %s, seed %" PRIu64 ";", kind,
                batch, token_batch, height, width, type == MFEDGE_FLOAT16 ? "float16" : "float32", seed);
  std::string described = text;
#define MFEDGE_FIELD(name, ...) described += " " #name " " + std::to_string(config.name);
#include "../../mfedge/kernels/tables/fields.inc"
  std::snprintf(text, sizeof text, " scale %g; elementary: C %" PRId64 " M %" PRId64 "%s",
                static_cast<double>(config.scale), channels, tokens, spatial ? " spatial" : "");
  return described + text;
}

Case random_case(mfedge_kind kind, Random& random) {
  Case made;
  made.kind = kind;
  random_image(made, random);
  made.batch = between(random, 1, 3);
  made.token_batch = between(random, 0, 1) ? made.batch : 1;
  made.type = between(random, 0, 1) ? MFEDGE_FLOAT16 : MFEDGE_FLOAT32;
  made.spatial = between(random, 0, 1);
  made.seed = random() >> 16;
  const int tokens = static_cast<int>(between(random, 0, 9) ? between(random, 1, 9) : between(random, 10, 16));
  const int heads = static_cast<int>(between(random, 1, 4));
  mfedge_config& c = made.config;
  if (kind >= MFEDGE_MOBILE_TO_FORMER) {
    made.channels = heads * between(random, 1, 40), made.tokens = tokens;
    if (kind != MFEDGE_DYNAMIC_RELU)
      c.heads = heads, c.scale = static_cast<float>(0.1 + 0.9 * std::fabs(uniform(random)));
    return made;
  }
  // Strips and chunks begin where a block is both wide and large; elsewhere small sizes keep the twin quick.
  const bool large = made.height * made.width < 500 && between(random, 0, 2) == 0;
  c.stride = static_cast<int32_t>(between(random, 1, 2));
  c.heads = heads;
  c.in_channels = static_cast<int32_t>(heads * between(random, 1, large ? 30 : 9));
  const bool keeps = between(random, 0, 1);
  c.out_channels = keeps ? c.in_channels : static_cast<int32_t>(heads * between(random, 1, large ? 30 : 9));
  const int64_t widest = large ? 7 : 4;
  if (kind == MFEDGE_STEM || (kind == MFEDGE_BLOCK && c.stride == 2)) {
    c.expand = static_cast<int32_t>(c.in_channels * between(random, 1, widest));
  } else {
    c.expand = static_cast<int32_t>(between(random, 1, large ? 400 : 70));
  }
  c.tokens = tokens;
  if (kind == MFEDGE_STEM) return made;
  if (c.stride == 2) c.expand2 = static_cast<int32_t>(c.out_channels * between(random, 1, widest));
  c.former_heads = static_cast<int32_t>(between(random, 1, 4));
  // Not below 8: the variance of two or three values may be as small as its rounding, and no bound holds then.
  c.token_dim = static_cast<int32_t>(c.former_heads *
                                     between(random, (8 + c.former_heads - 1) / c.former_heads, large ? 70 : 20));
  if (between(random, 0, 3)) c.ffn = static_cast<int32_t>(between(random, 1, 90));
  if (between(random, 0, 3)) c.hyper = static_cast<int32_t>(between(random, 1, 120));
  if (kind == MFEDGE_HEAD) {
    c.out_channels = c.expand2 = c.stride = c.heads = c.former_heads = c.ffn = c.hyper = 0;
    c.hidden = static_cast<int32_t>(between(random, 1, 70)), c.classes = static_cast<int32_t>(between(random, 1, 70));
  }
  return made;
}

bool read_case(FILE* file, Case* read) {
  int kind = 0, type = 0;
  if (std::fscanf(file, "%d %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %d %" SCNu64, &kind, &read->batch,
                  &read->token_batch, &read->height, &read->width, &type, &read->seed) != 7)
    return false;
  read->kind = static_cast<mfedge_kind>(kind), read->type = static_cast<mfedge_type>(type);
  bool found = true;
#define MFEDGE_FIELD(name, ...) found = found && std::fscanf(file, "%d", &read->config.name) == 1;
#include "../../mfedge/kernels/tables/fields.inc"
  return found;
}

Data make_data(const Case& given) {
  const mfedge_config& c = given.config;
  Random random(given.seed);
  Data data;
  fill_weights(given, {random, data.weights});
  fill_matrices(given, {random, data.matrices});
  if (given.type == MFEDGE_FLOAT16)
    for (float& value : data.matrices) data.halves.push_back(to_half(&value));
  const auto tokens = [&](int64_t M, int64_t width) { return random_array({given.token_batch, M, width}, random); };
  switch (given.kind) {
    case MFEDGE_STEM:
      data.inputs = {random_map(given, 3, random)};
      break;
    case MFEDGE_BLOCK:
    case MFEDGE_HEAD:
      data.inputs = {pad(random_map(given, c.in_channels, random)), tokens(c.tokens, c.token_dim),
                     random_array({given.batch, c.tokens, c.in_channels}, random)};
      break;
    case MFEDGE_TOKENS:
      data.inputs = {random_array({given.batch, c.tokens, c.in_channels}, random), tokens(c.tokens, c.token_dim)};
      break;
    case MFEDGE_MOBILE_TO_FORMER:
      data.inputs = {random_map(given, given.channels, random), tokens(given.tokens, given.channels)};
      break;
    case MFEDGE_FORMER_TO_MOBILE:
      data.inputs = {random_map(given, given.channels, random), tokens(given.tokens, given.channels),
                     tokens(given.tokens, given.channels)};
      break;
    case MFEDGE_DYNAMIC_RELU: {
      data.inputs = {random_map(given, given.channels, random)};
      for (int i = 0; i < 2; ++i) {
        const std::vector<int64_t> uniform = {given.token_batch, given.channels};
        data.inputs.push_back(random_array(given.spatial ? data.inputs[0].shape : uniform, random, 1, i == 0 ? 1 : 0));
      }
      break;
    }
  }
  return data;
}

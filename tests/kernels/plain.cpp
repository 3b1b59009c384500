#include "plain.h"

#include <algorithm>
#include <cmath>

namespace mfedge_plain {
namespace {

using Shape = std::vector<int64_t>;
constexpr double kLayerNormEpsilon = 1e-5;  // torch.nn.LayerNorm's default
constexpr double kSmallest = 0x1p-126;      // of float32: a weight below it is 0, which times infinity is NaN

// Reads a vector of weights from front to back.
struct Reader {
  const std::vector<float>& values;
  size_t at = 0;

  std::vector<double> take(int64_t count) {
    std::vector<double> part(values.begin() + at, values.begin() + at + count);
    at += count;
    return part;
  }
};

double clip(double x, double low, double high) { return std::min(std::max(x, low), high); }
double relu6(double x) { return clip(x, 0, 6); }
double hard_swish(double x) { return x * relu6(x + 3) / 6; }
double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }

void softmax(std::vector<double>& x) {
  const double top = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v - top);
  for (double& v : x) v = v / sum < kSmallest ? 0 : v / sum;
}

template <class Function>
void each(Array& x, Function f) {
  for (double& v : x.data) v = f(v);
}

void add(Array& x, const Array& y) {
  for (size_t i = 0; i < x.data.size(); ++i) x.data[i] += y.data[i];
}

// Tokens of a batch of one, copied for every image.
Array for_each_image(const Array& x, int64_t batch) {
  if (x.shape[0] == batch) return x;
  Array copy(Shape{batch, x.shape[1], x.shape[2]});
  for (size_t i = 0; i < copy.data.size(); ++i) copy.data[i] = x.data[i % x.data.size()];
  return copy;
}

// (..., in) -> (..., out)
Array linear(const Array& x, const std::vector<double>& weight, const std::vector<double>& bias) {
  const int64_t in = x.shape.back(), out = static_cast<int64_t>(bias.size());
  Shape shape = x.shape;
  shape.back() = out;
  Array y(shape);
  for (size_t row = 0; row < x.data.size() / in; ++row)
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias[o];
      for (int64_t i = 0; i < in; ++i) sum += weight[o * in + i] * x.data[row * in + i];
      y.data[row * out + o] = sum;
    }
  return y;
}

// Reads the weight from the matrices and the bias from the weights.
Array linear(const Array& x, int64_t out, Reader& matrices, Reader& weights) {
  const auto weight = matrices.take(out * x.shape.back());
  return linear(x, weight, weights.take(out));
}

Array layer_norm(Array x, Reader& weights) {
  const int64_t width = x.shape.back();
  const auto gain = weights.take(width), bias = weights.take(width);
  for (size_t row = 0; row < x.data.size() / width; ++row) {
    double* v = &x.data[row * width];
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < width; ++i) mean += v[i] / width;
    for (int64_t i = 0; i < width; ++i) variance += (v[i] - mean) * (v[i] - mean) / width;
    for (int64_t i = 0; i < width; ++i)
      v[i] = (v[i] - mean) / std::sqrt(variance + kLayerNormEpsilon) * gain[i] + bias[i];
  }
  return x;
}

// 3x3, padding 1, `in / groups` input channels an output.
Array convolution(const Array& x, int64_t out, int64_t groups, int stride, Reader& weights) {
  const int64_t B = x.shape[0], C = x.shape[1], H = x.shape[2], W = x.shape[3], depth = C / groups;
  const auto weight = weights.take(out * depth * 9), bias = weights.take(out);
  const int64_t h = (H - 1) / stride + 1, w = (W - 1) / stride + 1;
  Array y(Shape{B, out, h, w});
  size_t at = 0;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < h; ++i)
        for (int64_t j = 0; j < w; ++j) {
          double sum = bias[o];
          for (int64_t d = 0; d < depth; ++d)
            for (int dy = 0; dy < 3; ++dy)
              for (int dx = 0; dx < 3; ++dx) {
                const int64_t row = i * stride + dy - 1, column = j * stride + dx - 1;
                if (row < 0 || row >= H || column < 0 || column >= W) continue;
                const int64_t channel = o / (out / groups) * depth + d;
                sum += weight[(o * depth + d) * 9 + dy * 3 + dx] * x.data[((b * C + channel) * H + row) * W + column];
              }
          y.data[at++] = sum;
        }
  return y;
}

Array pointwise(const Array& x, int64_t out, Reader& weights) {
  const int64_t B = x.shape[0], C = x.shape[1], P = x.shape[2] * x.shape[3];
  const auto weight = weights.take(out * C), bias = weights.take(out);
  Array y(Shape{B, out, x.shape[2], x.shape[3]});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t o = 0; o < out; ++o)
      for (int64_t p = 0; p < P; ++p) {
        double sum = bias[o];
        for (int64_t c = 0; c < C; ++c) sum += weight[o * C + c] * x.data[(b * C + c) * P + p];
        y.data[(b * out + o) * P + p] = sum;
      }
  return y;
}

Array mobile_to_former(const Array& map, const Array& query, int heads, double scale) {
  const int64_t B = map.shape[0], C = map.shape[1], P = map.shape[2] * map.shape[3], M = query.shape[1];
  const int64_t depth = C / heads;
  const Array q = for_each_image(query, B);
  Array out(Shape{B, M, C});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t m = 0; m < M; ++m)
      for (int h = 0; h < heads; ++h) {
        const double* pixels = &map.data[(b * C + h * depth) * P];
        std::vector<double> score(P, 0.0);
        for (int64_t p = 0; p < P; ++p)
          for (int64_t c = 0; c < depth; ++c)
            score[p] += scale * q.data[(b * M + m) * C + h * depth + c] * pixels[c * P + p];
        softmax(score);
        for (int64_t c = 0; c < depth; ++c)
          for (int64_t p = 0; p < P; ++p) out.data[(b * M + m) * C + h * depth + c] += score[p] * pixels[c * P + p];
      }
  return out;
}

Array former_to_mobile(const Array& map, const Array& keys, const Array& values, int heads, double scale) {
  const int64_t B = map.shape[0], C = map.shape[1], P = map.shape[2] * map.shape[3], M = keys.shape[1];
  const int64_t depth = C / heads;
  const Array key = for_each_image(keys, B), value = for_each_image(values, B);
  Array out = map;
  for (int64_t b = 0; b < B; ++b)
    for (int h = 0; h < heads; ++h)
      for (int64_t p = 0; p < P; ++p) {
        std::vector<double> score(M, 0.0);
        for (int64_t m = 0; m < M; ++m)
          for (int64_t c = h * depth; c < (h + 1) * depth; ++c)
            score[m] += scale * key.data[(b * M + m) * C + c] * map.data[(b * C + c) * P + p];
        softmax(score);
        for (int64_t m = 0; m < M; ++m)
          for (int64_t c = h * depth; c < (h + 1) * depth; ++c)
            out.data[(b * C + c) * P + p] += score[m] * value.data[(b * M + m) * C + c];
      }
  return out;
}

// max(a1 x, a2 x) with one slope per channel, (B or 1, C), or one per pixel.
Array dynamic_relu(const Array& map, const Array& slope1, const Array& slope2) {
  const int64_t B = map.shape[0], C = map.shape[1], P = map.shape[2] * map.shape[3];
  Array y = map;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t c = 0; c < C; ++c)
      for (int64_t p = 0; p < P; ++p) {
        const size_t i = (b * C + c) * P + p;
        const auto at = [&](const Array& slope) {
          if (slope.shape.size() == 4) return slope.data[i];
          return slope.data[(slope.shape[0] == 1 ? 0 : b) * C + c];
        };
        const double one = at(slope1) * map.data[i], other = at(slope2) * map.data[i];
        y.data[i] = std::isnan(other) ? other : std::max(one, other);  // which keeps its first argument if that is NaN
      }
  return y;
}

// Slopes (B, 2E), or ReLU6 if there are none.
void activate(Array& map, const Array& slopes) {
  if (slopes.shape.empty()) return each(map, relu6);
  const int64_t B = map.shape[0], E = map.shape[1];
  Array slope1(Shape{B, E}), slope2(Shape{B, E});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t e = 0; e < E; ++e) {
      slope1.data[b * E + e] = slopes.data[b * 2 * E + e];
      slope2.data[b * E + e] = slopes.data[b * 2 * E + E + e];
    }
  map = dynamic_relu(map, slope1, slope2);
}

Array first_token(const Array& tokens) {
  const int64_t B = tokens.shape[0], M = tokens.shape[1], D = tokens.shape[2];
  Array first(Shape{B, D});
  for (int64_t b = 0; b < B; ++b) std::copy_n(&tokens.data[b * M * D], D, &first.data[b * D]);
  return first;
}

// What follows the attention over pixels: Z <- LN(Z + W(gate * attended)).
Array bridge(const Array& tokens, const Array& attended, Reader& matrices, Reader& weights) {
  Array gated = linear(tokens, attended.shape[2], matrices, weights);
  each(gated, [](double x) { return clip(x, 0, 2); });
  for (size_t i = 0; i < gated.data.size(); ++i) gated.data[i] *= attended.data[i];
  Array sum = linear(gated, tokens.shape[2], matrices, weights);
  add(sum, tokens);
  return layer_norm(sum, weights);
}

// Keys and values are the tokens, unprojected.
Array self_attention(const Array& query, const Array& tokens, int heads) {
  const int64_t B = tokens.shape[0], M = tokens.shape[1], D = tokens.shape[2], depth = D / heads;
  Array out(tokens.shape);
  for (int64_t b = 0; b < B; ++b)
    for (int h = 0; h < heads; ++h)
      for (int64_t m = 0; m < M; ++m) {
        std::vector<double> score(M, 0.0);
        for (int64_t j = 0; j < M; ++j)
          for (int64_t d = h * depth; d < (h + 1) * depth; ++d)
            score[j] += query.data[(b * M + m) * D + d] * tokens.data[(b * M + j) * D + d];
        softmax(score);
        for (int64_t j = 0; j < M; ++j)
          for (int64_t d = h * depth; d < (h + 1) * depth; ++d)
            out.data[(b * M + m) * D + d] += score[j] * tokens.data[(b * M + j) * D + d];
      }
  return out;
}

Array former(const Array& tokens, const mfedge_config& c, Reader& matrices, Reader& weights) {
  const Array query = linear(tokens, c.token_dim, matrices, weights);
  Array sum = linear(self_attention(query, tokens, c.former_heads), c.token_dim, matrices, weights);
  add(sum, tokens);
  Array z = layer_norm(sum, weights);
  if (!c.ffn) return z;
  Array hidden = linear(z, c.ffn, matrices, weights);
  each(hidden, gelu);
  sum = linear(hidden, c.token_dim, matrices, weights);
  add(sum, z);
  return layer_norm(sum, weights);
}

// (B, 2E): [a1 | a2].
Array slopes(const Array& tokens, int64_t channels, int64_t hyper, Reader& matrices, Reader& weights) {
  Array hidden = linear(first_token(tokens), hyper, matrices, weights);
  each(hidden, [](double x) { return std::max(x, 0.0); });
  Array h = linear(hidden, 2 * channels, matrices, weights);
  for (size_t i = 0; i < h.data.size(); ++i) {
    const bool first = static_cast<int64_t>(i) % (2 * channels) < channels;
    h.data[i] = clip(h.data[i], -1, 1) + (first ? 1 : 0);
  }
  return h;
}

int64_t second(const mfedge_config& c) { return c.stride == 2 ? c.expand2 : c.expand; }

struct TokenSide {
  Array tokens, slopes1, slopes2, key, value;
};

TokenSide token_side(const Array& tokens, const Array& attended, const mfedge_config& c, Reader& matrices,
                     Reader& weights) {
  TokenSide side;
  side.tokens = former(bridge(tokens, attended, matrices, weights), c, matrices, weights);
  if (c.hyper) {
    side.slopes1 = slopes(side.tokens, c.expand, c.hyper, matrices, weights);
    side.slopes2 = slopes(side.tokens, second(c), c.hyper, matrices, weights);
  }
  side.key = linear(side.tokens, c.out_channels, matrices, weights);
  side.value = linear(side.tokens, c.out_channels, matrices, weights);
  return side;
}

// Planes with rows of zeros after their pixels, and the pixels of such planes.
Array with_rows(const Array& map, int64_t rows) {
  const int64_t planes = map.shape[0] * map.shape[1], from = map.shape[2] * map.shape[3], to = rows * map.shape[3];
  Array made(Shape{map.shape[0], map.shape[1], rows, map.shape[3]});
  for (int64_t i = 0; i < planes; ++i)
    std::copy_n(&map.data[i * from], std::min(from, to), &made.data[i * to]);
  return made;
}
Array pad(const Array& pixels) { return with_rows(pixels, pixels.shape[2] + MFEDGE_PADDING_ROWS); }
Array unpad(const Array& map) { return with_rows(map, map.shape[2] - MFEDGE_PADDING_ROWS); }

std::vector<Array> stem(const Array& images, const mfedge_config& c, Reader& weights) {
  Array first = convolution(images, c.in_channels, 1, 2, weights);
  each(first, relu6);
  Array hidden = convolution(first, c.expand, c.in_channels, c.stride, weights);
  each(hidden, relu6);
  Array y = pointwise(hidden, c.out_channels, weights);
  if (c.stride == 1 && c.in_channels == c.out_channels) add(y, first);
  Array query(Shape{1, c.tokens, c.out_channels});
  query.data = weights.take(int64_t{c.tokens} * c.out_channels);
  return {pad(y), mobile_to_former(y, query, c.heads, 1)};
}

Array mobile(const Array& map, const TokenSide& side, const mfedge_config& c, Reader& weights) {
  if (c.stride == 1) {
    Array hidden = pointwise(map, c.expand, weights);
    activate(hidden, side.slopes1);
    hidden = convolution(hidden, c.expand, c.expand, 1, weights);
    activate(hidden, side.slopes2);
    Array y = pointwise(hidden, c.out_channels, weights);
    if (c.in_channels == c.out_channels) add(y, map);
    return y;
  }
  Array hidden = convolution(map, c.expand, c.in_channels, 2, weights);
  activate(hidden, side.slopes1);
  const Array halved = pointwise(hidden, c.out_channels, weights);
  hidden = convolution(halved, c.expand2, c.out_channels, 1, weights);
  activate(hidden, side.slopes2);
  Array y = pointwise(hidden, c.out_channels, weights);
  add(y, halved);
  return y;
}

// The vectors of Mobile come before those of the tokens but need the slopes, so they are read a second time.
std::vector<Array> block(const Array& map, const Array& given, const Array& attended, const mfedge_config& c,
                         Reader& matrices, Reader& weights) {
  Reader mobile_weights = weights;
  weights.at += c.stride == 1
                    ? static_cast<size_t>(c.expand) * (c.in_channels + 1 + 9 + 1) + c.out_channels * (c.expand + 1)
                    : static_cast<size_t>(c.expand) * 10 + c.out_channels * (c.expand + 1) +
                          static_cast<size_t>(c.expand2) * 10 + c.out_channels * (c.expand2 + 1);
  const TokenSide side = token_side(for_each_image(given, map.shape[0]), attended, c, matrices, weights);
  const Array query = linear(side.tokens, c.out_channels, matrices, weights);
  const Array y = former_to_mobile(mobile(map, side, c, mobile_weights), side.key, side.value, c.heads, 1);
  return {pad(y), side.tokens, mobile_to_former(y, query, c.heads, 1)};
}

Array head(const Array& map, const Array& given, const Array& attended, const mfedge_config& c, Reader& matrices,
           Reader& weights) {
  const int64_t B = map.shape[0], P = map.shape[2] * map.shape[3], E = c.expand, D = c.token_dim;
  const Array tokens = bridge(for_each_image(given, B), attended, matrices, weights);
  Array wide = pointwise(map, E, weights);
  each(wide, relu6);
  Array pooled(Shape{B, E + D});
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t e = 0; e < E; ++e) {
      double sum = 0;
      for (int64_t p = 0; p < P; ++p) sum += wide.data[(b * E + e) * P + p];
      pooled.data[b * (E + D) + e] = hard_swish(sum / P);
    }
    std::copy_n(&tokens.data[b * c.tokens * D], D, &pooled.data[b * (E + D) + E]);
  }
  Array hidden = linear(pooled, c.hidden, matrices, weights);
  each(hidden, hard_swish);
  return linear(hidden, c.classes, matrices, weights);
}

}  // namespace

bool valid(mfedge_kind kind, const mfedge_config& c) {
  const bool tokens = c.tokens >= 1 && c.tokens <= 16 && c.token_dim >= 1;
  // What is not used is not looked at: expand2 where the stride is 1.
  const bool attends = c.out_channels >= 1 && c.heads >= 1 && c.out_channels % c.heads == 0;
  switch (kind) {
    case MFEDGE_STEM:
      return c.in_channels >= 1 && c.expand >= 1 && c.expand % c.in_channels == 0 && attends && c.tokens >= 1 &&
             c.tokens <= 16 && (c.stride == 1 || c.stride == 2);
    case MFEDGE_BLOCK:
      if (!attends) return false;
      if (c.stride == 2 && c.in_channels >= 1 && c.expand >= 1 &&
          (c.expand % c.in_channels || c.expand2 % c.out_channels))
        return false;
      [[fallthrough]];
    case MFEDGE_TOKENS:
      return tokens && c.in_channels >= 1 && c.out_channels >= 1 && c.expand >= 1 &&
             (c.stride == 1 || (c.stride == 2 && c.expand2 >= 1)) && c.former_heads >= 1 &&
             c.token_dim % c.former_heads == 0 && c.ffn >= 0 && c.hyper >= 0;
    case MFEDGE_HEAD:
      return tokens && c.in_channels >= 1 && c.expand >= 1 && c.hidden >= 1 && c.classes >= 1;
    case MFEDGE_MOBILE_TO_FORMER:
    case MFEDGE_FORMER_TO_MOBILE:
      return c.heads >= 1;
    case MFEDGE_DYNAMIC_RELU:
      return true;
  }
  return false;
}

int input_count(mfedge_kind kind) {
  return kind == MFEDGE_STEM ? 1 : kind == MFEDGE_TOKENS || kind == MFEDGE_MOBILE_TO_FORMER ? 2 : 3;
}

int output_count(mfedge_kind kind) {
  return kind == MFEDGE_STEM ? 2 : kind == MFEDGE_BLOCK ? 3 : kind == MFEDGE_TOKENS ? 5 : 1;
}

Counts count(mfedge_kind kind, const mfedge_config& c) {
  const size_t C = c.in_channels, E = c.expand, O = c.out_channels, E2 = second(c), D = c.token_dim, F = c.ffn;
  const size_t R = c.hyper, N = c.hidden, K = c.classes;
  const Counts bridge = {C + D + D + D, C * D + D * C};
  const Counts tokens = {C + D + D + D + 4 * D + (F ? F + 3 * D : 0) + (R ? 2 * R + 2 * E + 2 * E2 : 0) + 2 * O,
                         2 * C * D + 2 * D * D + 2 * F * D + 2 * R * D + 2 * E * R + 2 * E2 * R + 2 * O * D};
  switch (kind) {
    case MFEDGE_STEM:
      return {C * 27 + C + E * 10 + O * E + O + c.tokens * O, 0};
    case MFEDGE_TOKENS:
      return tokens;
    case MFEDGE_BLOCK: {
      const size_t mobile = c.stride == 1 ? E * C + E + E * 10 + O * E + O : E * 10 + O * E + O + E2 * 10 + O * E2 + O;
      return {mobile + tokens.weights + O, tokens.matrices + O * D};
    }
    case MFEDGE_HEAD:
      return {bridge.weights + E * C + E + N + K, bridge.matrices + N * (E + D) + K * N};
    default:
      return {0, 0};
  }
}

std::vector<Shape> shapes(mfedge_kind kind, const mfedge_config& c, const std::vector<Shape>& in) {
  if (static_cast<int>(in.size()) != input_count(kind)) return {};
  for (const Shape& shape : in)
    for (int64_t extent : shape)
      if (extent < 1) return {};
  const auto is_tokens = [&](const Shape& s, int64_t B, int64_t M, int64_t width) {
    return s.size() == 3 && (s[0] == B || s[0] == 1) && (M ? s[1] == M : s[1] >= 1 && s[1] <= 16) && s[2] == width;
  };
  const int64_t B = in[0][0];
  if (kind == MFEDGE_TOKENS) {
    if (in[0] != Shape{B, c.tokens, c.in_channels} || !is_tokens(in[1], B, c.tokens, c.token_dim)) return {};
    return {{B, c.tokens, c.token_dim},
            {B, 2 * int64_t{c.expand}},
            {B, 2 * second(c)},
            {B, c.tokens, c.out_channels},
            {B, c.tokens, c.out_channels}};
  }
  if (in[0].size() != 4) return {};
  const bool padded = kind == MFEDGE_BLOCK || kind == MFEDGE_HEAD;
  const int64_t C = in[0][1], H = in[0][2] - (padded ? MFEDGE_PADDING_ROWS : 0), W = in[0][3];
  const int64_t h = (H - 1) / 2 + 1, w = (W - 1) / 2 + 1;
  if (H < 1) return {};
  switch (kind) {
    case MFEDGE_STEM:
      if (C != 3) return {};
      return {{B, c.out_channels, (c.stride == 2 ? (h - 1) / 2 + 1 : h) + MFEDGE_PADDING_ROWS,
               c.stride == 2 ? (w - 1) / 2 + 1 : w},
              {B, c.tokens, c.out_channels}};
    case MFEDGE_BLOCK:
      if (C != c.in_channels || !is_tokens(in[1], B, c.tokens, c.token_dim)) return {};
      if (in[2] != Shape{B, c.tokens, c.in_channels}) return {};
      return {{B, c.out_channels, (c.stride == 2 ? h : H) + MFEDGE_PADDING_ROWS, c.stride == 2 ? w : W},
              {B, c.tokens, c.token_dim},
              {B, c.tokens, c.out_channels}};
    case MFEDGE_HEAD:
      if (C != c.in_channels || !is_tokens(in[1], B, c.tokens, c.token_dim)) return {};
      if (in[2] != Shape{B, c.tokens, c.in_channels}) return {};
      return {{B, c.classes}};
    case MFEDGE_MOBILE_TO_FORMER:
      if (C % c.heads || !is_tokens(in[1], B, 0, C)) return {};
      return {{B, in[1][1], C}};
    case MFEDGE_FORMER_TO_MOBILE:
      if (C % c.heads || !is_tokens(in[1], B, 0, C) || !is_tokens(in[2], B, in[1][1], C)) return {};
      return {in[0]};
    default: {
      const auto is_slope = [&](const Shape& s) {
        return s == in[0] || (s.size() == 2 && (s[0] == B || s[0] == 1) && s[1] == C);
      };
      if (!is_slope(in[1]) || !is_slope(in[2]) || in[1].size() != in[2].size()) return {};
      return {in[0]};
    }
  }
}

std::vector<Array> run(mfedge_kind kind, const mfedge_config& c, const std::vector<float>& weight_values,
                       const std::vector<float>& matrix_values, const std::vector<Array>& in) {
  Reader weights{weight_values}, matrices{matrix_values};
  switch (kind) {
    case MFEDGE_STEM:
      return stem(in[0], c, weights);
    case MFEDGE_BLOCK:
      return block(unpad(in[0]), in[1], in[2], c, matrices, weights);
    case MFEDGE_HEAD:
      return {head(unpad(in[0]), in[1], in[2], c, matrices, weights)};
    case MFEDGE_TOKENS: {
      const TokenSide side = token_side(for_each_image(in[1], in[0].shape[0]), in[0], c, matrices, weights);
      return {side.tokens, side.slopes1, side.slopes2, side.key, side.value};
    }
    case MFEDGE_MOBILE_TO_FORMER:
      return {mobile_to_former(in[0], in[1], c.heads, c.scale)};
    case MFEDGE_FORMER_TO_MOBILE:
      return {former_to_mobile(in[0], in[1], in[2], c.heads, c.scale)};
    case MFEDGE_DYNAMIC_RELU:
      return {dynamic_relu(in[0], in[1], in[2])};
  }
  return {};
}

}  // namespace mfedge_plain

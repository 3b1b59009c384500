// Shapes of the operations in openvino.cpp, as far as OpenVINO knows them: any dimension may be open, or an interval.
#ifndef MFEDGE_OPENVINO_SHAPES_H
#define MFEDGE_OPENVINO_SHAPES_H

#include <array>
#include <string>

#include <openvino/core/partial_shape.hpp>

#include "mfedge_kernels.h"

namespace mfedge_openvino {

// A shape is written with a letter a dimension: B batch, b batch or 1, C in_channels (any, where there is no such
// attribute), O out_channels, M tokens, D token_dim, K classes, H and W pixels, P rows of pixels and padding, p and w the
// same after the operation's strides.
struct Tensor {
  const char* name;
  const char* shape;
  const char* other = nullptr;  // another shape that will do
};

// By a 3x3 convolution of stride 2.
inline ov::Dimension halved(const ov::Dimension& size) {
  const int64_t most = size.get_max_length();  // -1: any
  return {(size.get_min_length() + 1) / 2, most < 0 ? most : (most + 1) / 2};
}

// What each letter stands for in one node, as far as its attributes and inputs tell.
class Letters {
 public:
  // `config` is all 0 but for the heads if the node has no other attributes.
  Letters(mfedge_kind kind, const mfedge_config& config) : kind_(kind), stride_(config.stride) {
    size('3') = 3;
    if (config.in_channels == 0) return;
    size('C') = config.in_channels;
    size('O') = config.out_channels;
    size('M') = config.tokens;
    size('D') = config.token_dim;
    size('K') = config.classes;
  }

  // Whether an input fits; what it tells is kept.
  bool fit(const Tensor& tensor, const ov::PartialShape& shape) {
    return fit(tensor.shape, shape) || (tensor.other != nullptr && fit(tensor.other, shape));
  }

  ov::PartialShape shape(const char* letters) {
    ov::PartialShape made = ov::PartialShape::dynamic(0);
    for (const char* letter = letters; *letter; ++letter)
      made.push_back(*letter == 'p' ? strided(rows()) + MFEDGE_PADDING_ROWS
                     : *letter == 'w' ? strided(size('W'))
                                      : size(*letter));
    return made;
  }

  // "(B, 16, H, W)": sizes where they are known.
  std::string text(const char* letters) {
    std::string made;
    for (const char* letter = letters; *letter; ++letter) {
      made += made.empty() ? "(" : ", ";
      if (*letter == 'b')
        made += "B or 1";
      else if (*letter == 'P' && size('P').is_dynamic())
        made += "H + " + std::to_string(MFEDGE_PADDING_ROWS);
      else
        made += size(*letter).is_static() ? size(*letter).to_string() : std::string(1, *letter);
    }
    return made + ")";
  }

 private:
  bool fit(const char* letters, const ov::PartialShape& shape) {
    if (shape.rank().is_dynamic()) return true;
    if (std::string(letters).size() != shape.size()) return false;
    auto sizes = sizes_;
    for (const ov::Dimension& found : shape) {
      const char letter = *letters++;
      if (letter == 'b' && (found.is_dynamic() || found == 1)) continue;
      ov::Dimension& known = sizes[letter == 'b' ? 'B' : letter];
      if (!ov::Dimension::merge(known, known, found)) return false;
    }
    sizes_ = sizes;
    return true;
  }

  // Rows of pixels of the first input.
  ov::Dimension rows() { return kind_ == MFEDGE_STEM ? size('H') : size('P') - MFEDGE_PADDING_ROWS; }

  ov::Dimension strided(const ov::Dimension& size) const {
    const ov::Dimension after = kind_ == MFEDGE_STEM ? halved(size) : size;  // the stem's first convolution
    return stride_ == 2 ? halved(after) : after;
  }

  ov::Dimension& size(char letter) { return sizes_[static_cast<unsigned char>(letter)]; }

  mfedge_kind kind_;
  int32_t stride_;
  std::array<ov::Dimension, 128> sizes_;
};

}  // namespace mfedge_openvino

#endif

// The letters in which tables/kinds.inc writes shapes, interpreted for one operator. Written once for sizes that are
// all known, int64_t (shapes.cpp), and for sizes that may be open, as OpenVINO has them (bindings/openvino.cpp).
#pragma once

#include <stdio.h>
#include <string.h>

#include "kinds.h"

namespace mfedge {

// Letters needs these functions of a size, and arithmetic. A size that is default constructed is not known.
inline bool is_known(int64_t size) { return size != 0; }
inline long long value_of(int64_t known) { return known; }
inline bool may_reach(int64_t size, int64_t least) { return size >= least; }
inline bool may_be_one(int64_t size) { return size == 1; }
// Narrows `known` to the sizes that both allow; false if there is none.
inline bool agree(int64_t* known, int64_t found) {
  if (*known == 0) *known = found;
  return *known == found;
}
// The size after a 3x3 convolution of stride 2.
inline int64_t halved(int64_t size) { return (size + 1) / 2; }

template <class Size>
class Letters {
 public:
  Letters(const Kind& kind, const mfedge_config& config) : stride_(config.stride) {
    if (kind.attributes != ALL_SIZES) return;
    for (const Field& field : kFields)
      if (field.letter != ' ' && config.*field.member > 0) size(field.letter) = Size(config.*field.member);
    size('S') = Size(2 * config.expand);
    size('T') = Size(2 * (stride_ == 2 ? config.expand2 : config.expand));
  }

  // Whether the next input may have this shape. Its sizes are then known. After a misfit only a copy from before is of
  // use, to describe the shape that would have fitted.
  bool fit(const Port& input, const Size* sizes, size_t rank) {
    if (input.other != nullptr && variant_ == Variant::kOpen)
      variant_ = rank == strlen(input.shape)   ? Variant::kShape
                 : rank == strlen(input.other) ? Variant::kOther
                                               : Variant::kOpen;
    const char* letters = input.other != nullptr && variant_ == Variant::kOther ? input.other : input.shape;
    if (rank != strlen(letters)) return false;
    for (size_t i = 0; i < rank; ++i) {
      const char letter = letters[i];
      if (!may_reach(sizes[i], letter == 'P' ? MFEDGE_PADDING_ROWS + 1 : 1)) return false;
      Size digit = Size(letter - '0');
      if (letter == 'b' && may_be_one(sizes[i])) continue;
      if (!agree(is_digit(letter) ? &digit : &size(letter), sizes[i])) return false;
    }
    return true;
  }

  // The size that a letter stands for.
  Size operator[](char letter) {
    if (is_digit(letter)) return Size(letter - '0');
    switch (letter) {
      case 'p': return strided(size('P') - Size(MFEDGE_PADDING_ROWS)) + Size(MFEDGE_PADDING_ROWS);
      case 'w': return strided(size('W'));
      case 'q': return strided(halved(size('H'))) + Size(MFEDGE_PADDING_ROWS);
      case 'v': return strided(halved(size('W')));
      default: return size(letter);
    }
  }

  // Writes the shape that an input has to have, "(B or 1, 16, H, W)": sizes where they are known.
  void describe(const Port& input, char* text, size_t bytes) {
    size_t used = 0;
    if (input.other == nullptr || variant_ != Variant::kOther) used += describe(input.shape, text, bytes);
    if (input.other != nullptr && variant_ == Variant::kOpen && used < bytes)
      used += static_cast<size_t>(snprintf(text + used, bytes - used, " or "));
    if (input.other != nullptr && variant_ != Variant::kShape && used < bytes)
      describe(input.other, text + used, bytes - used);
  }

 private:
  enum class Variant { kOpen, kShape, kOther };  // of the inputs that may have two shapes

  size_t describe(const char* letters, char* text, size_t bytes) {
    size_t used = 0;
    for (const char* letter = letters; *letter && used < bytes; ++letter) {
      char* to = text + used;
      const size_t left = bytes - used;
      const char* before = letter == letters ? "(" : ", ";
      const char* after = letter[1] ? "" : ")";
      int written = 0;
      if (*letter == 'b')
        written = snprintf(to, left, "%sB or 1%s", before, after);
      else if (is_known((*this)[*letter]))
        written = snprintf(to, left, "%s%lld%s", before, value_of((*this)[*letter]), after);
      else if (*letter == 'P')
        written = snprintf(to, left, "%sH + %d%s", before, MFEDGE_PADDING_ROWS, after);
      else
        written = snprintf(to, left, "%s%c%s", before, *letter, after);
      used += static_cast<size_t>(written);
    }
    return used;
  }

  static bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }
  Size strided(const Size& size) const { return stride_ == 2 ? halved(size) : size; }
  Size& size(char letter) { return sizes_[letter % kLetters]; }  // 'b' is B

  static constexpr size_t kLetters = 32;  // 'A' to 'Z' are 1 to 26
  int32_t stride_;
  Variant variant_ = Variant::kOpen;
  Size sizes_[kLetters] = {};
};

}  // namespace mfedge

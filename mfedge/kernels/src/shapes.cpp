// See shapes.h. The rules and shapes themselves stand in tables/kinds.inc.
#include "shapes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "letters.h"

namespace mfedge {
namespace {

// The field whose name is `length` characters long; nullptr if there is none.
const Field* find_field(const char* name, size_t length) {
  for (const Field& field : kFields)
    if (strlen(field.name) == length && memcmp(field.name, name, length) == 0) return &field;
  return nullptr;
}

int check_range(const Field& field, const mfedge_config& config, char* message) {
  const int32_t value = config.*field.member;
  if (value >= field.lowest && value <= field.highest) return MFEDGE_OK;
  return fail(message, "%s: expected %d to %d, found %d", field.name, field.lowest, field.highest, value);
}

int check_divides(const Field& divisor, const Field& whole, const mfedge_config& config, char* message) {
  if (config.*whole.member % config.*divisor.member == 0) return MFEDGE_OK;
  return fail(message, "%s: expected a divisor of %s %d, found %d", divisor.name, whole.name, config.*whole.member,
              config.*divisor.member);
}

// Holds a configuration against the rules of a kind, word by word.
int check_rules(const char* rules, const mfedge_config& config, char* message) {
  for (const char* word = rules; *word;) {
    const size_t length = strcspn(word, " "), name = strcspn(word, " |=");
    const Field* field = find_field(word, name);
    int status = MFEDGE_OK;
    if (word[name] == '=') {
      if (config.*field->member != word[name + 1] - '0') return MFEDGE_OK;
    } else if (word[name] == '|') {
      status = check_divides(*field, *find_field(word + name + 1, length - name - 1), config, message);
    } else {
      status = check_range(*field, config, message);
    }
    if (status != MFEDGE_OK) return status;
    word += length + (word[length] == ' ');
  }
  return MFEDGE_OK;
}

// Of an input whose sizes are 1 or more. So no product of sizes, all of them included, exceeds an int64_t.
bool within_limits(const mfedge_tensor& input) {
  if (input.shape[0] > MFEDGE_MAX_BATCH) return false;
  return input.rank < 4 || input.shape[2] <= MFEDGE_MAX_PIXELS / input.shape[3];
}

// A size of an input as a field of a configuration, whose rules refuse what is too large.
int32_t as_field(int64_t size) { return static_cast<int32_t>(size < INT32_MAX ? size : INT32_MAX); }

// "(2, 16, 7, 7)"
void describe(const mfedge_tensor& tensor, char* text, size_t bytes) {
  const int rank = tensor.rank < 0 ? 0 : tensor.rank > 4 ? 4 : tensor.rank;
  int used = snprintf(text, bytes, "(");
  for (int i = 0; i < rank; ++i)
    used += snprintf(text + used, bytes - used, "%s%lld", i ? ", " : "", static_cast<long long>(tensor.shape[i]));
  snprintf(text + used, bytes - used, ")");
}

}  // namespace

int fail(char* message, const char* format, ...) {
  if (message) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, MFEDGE_MESSAGE, format, arguments);
    va_end(arguments);
  }
  return MFEDGE_INVALID;
}

int check_config(mfedge_kind number, const mfedge_config& config, char* message) {
  const Kind* kind = find_kind(number);
  if (!kind) return fail(message, "kind: expected 1 to %d, found %d", kKindCount, static_cast<int>(number));
  switch (kind->attributes) {
    case NO_ATTRIBUTES: return MFEDGE_OK;
    case HEADS_AND_SCALE: return check_rules("heads", config, message);  // its other sizes come with the inputs
    case ALL_SIZES: return check_rules(kind->rules, config, message);
  }
  return MFEDGE_INVALID;
}

int infer_shapes(const Kind& kind, const mfedge_config& config, const mfedge_tensor* inputs, mfedge_tensor* outputs,
                 char* message) {
  Letters<int64_t> letters(kind, config);
  for (int i = 0; i < kind.inputs(); ++i) {
    const mfedge_tensor& input = inputs[i];
    Letters<int64_t> before = letters;
    const bool fits = letters.fit(kind.input[i], input.shape, static_cast<size_t>(input.rank));
    if (fits && within_limits(input)) continue;
    char expected[96], found[96];
    before.describe(kind.input[i], expected, sizeof expected);
    describe(input, found, sizeof found);
    if (fits)
      snprintf(expected, sizeof expected, "a batch of at most %d and at most %d pixels", MFEDGE_MAX_BATCH,
               MFEDGE_MAX_PIXELS);
    return fail(message, "mfedge %s: %s: expected %s, found %s", kind.name, kind.input[i].name, expected, found);
  }
  if (kind.attributes != ALL_SIZES) {
    mfedge_config found = config;
    found.in_channels = as_field(letters['C']);
    found.tokens = as_field(letters['M']);
    const int status = check_rules(kind.rules, found, message);
    if (status != MFEDGE_OK) return status;
  }
  for (int i = 0; i < kind.outputs(); ++i) {
    const char* shape = kind.output[i].shape;
    outputs[i].rank = 0;
    for (; *shape; ++shape) outputs[i].shape[outputs[i].rank++] = letters[*shape];
  }
  return MFEDGE_OK;
}

}  // namespace mfedge

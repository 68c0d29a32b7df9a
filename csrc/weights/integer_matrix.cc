#include "weights/integer_matrix.h"

#include <cmath>

#include "weights/source_row.h"

namespace moe {
namespace {

/// Field `i` of a list of words, lowest bits first.
uint32_t field(const Tensor& words, int64_t word, int64_t i, int bits) {
  uint32_t value;
  std::memcpy(&value, words.as<std::byte>() + 4 * word, sizeof value);
  return value >> (i * bits) & ((1u << bits) - 1);
}

int64_t order_at(const Tensor& order, int64_t k) {
  int32_t value;
  std::memcpy(&value, order.as<std::byte>() + 4 * k, sizeof value);
  return value;
}

int64_t rounded_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

constexpr int64_t kAwqField[] = {0, 4, 1, 5, 2, 6, 3, 7};  // where n mod 8 is in its word

}  // namespace

void IntegerMatrix::prepare() {
  if (ready) return;
  ready = true;
  const Check check("integers");
  check.that(bits == 4 || bits == 8, "bits", "4 or 8", bits);
  check.that(layout != Layout::awq || bits == 4, "bits", "4 for AWQ", bits);
  check.that(layout != Layout::bytes || bits == 8, "bits", "8 for bytes", bits);
  check.that(group >= 0, "group", "at least 0", group);
  if (group == 0 || group > K) group = std::max<int64_t>(K, 1);
  const int64_t per_word = 32 / bits, G = groups();
  const bool by_columns = layout == Layout::gptq || layout == Layout::awq;
  if (by_columns)
    check.that(N % per_word == 0 && K % per_word == 0, "shape", "of whole words",
               Shape{N, K}.text());
  const Shape values_shape = layout == Layout::gptq     ? Shape{K / per_word, N}
                             : layout == Layout::awq    ? Shape{K, N / per_word}
                             : layout == Layout::packed ? Shape{N, rounded_up(K, per_word)}
                                                        : Shape{N, K};
  check.shape("values", values, values_shape);
  check.dtype("values", values, {layout == Layout::bytes ? DType::u8 : DType::i32});
  check.shape("scales", scales, by_columns ? Shape{G, N} : Shape{N, G});
  check.dtype("scales", scales, {DType::f32, DType::bf16, DType::f16});
  for (const Tensor* part : {&values, &scales}) check.contiguous("parts", *part);
  if (zeros) {
    check.that(layout != Layout::bytes, "zeros", "absent for bytes", "some");
    check.shape("zeros", zeros,
                by_columns ? Shape{G, N / per_word} : Shape{rounded_up(N, per_word), G});
    check.dtype("zeros", zeros, {DType::i32});
    check.contiguous("zeros", zeros);
  }
  symmetric = true;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t g = 0; g < G; ++g) {
      if (!std::isfinite(scale(n, g)))
        fail(Code::checkpoint, name, ": scales must be finite, got ", scale(n, g));
      symmetric = symmetric && zero(n, g) == half();
    }
  if (!order) return;
  check.shape("order", order, {K});
  check.dtype("order", order, {DType::i32});
  bool plain = true;
  for (int64_t k = 0; k < K; ++k) {
    const int64_t at = order_at(order, k);
    if (at < 0 || at >= G)
      fail(Code::checkpoint, name, ": g_idx must be a group index below ", G, ", got ", at);
    plain = plain && at == k / group;
  }
  if (plain) order = {};
}

std::vector<Tensor> IntegerMatrix::parts() const {
  std::vector<Tensor> all{values, scales};
  for (const Tensor& part : {zeros, order})
    if (part) all.push_back(part);
  return all;
}

int64_t IntegerMatrix::group_of(int64_t k) const { return order ? order_at(order, k) : k / group; }

int IntegerMatrix::value(int64_t n, int64_t k) const {
  const int64_t per_word = 32 / bits;
  switch (layout) {
    case Layout::gptq:
      return static_cast<int>(field(values, k / per_word * N + n, k % per_word, bits));
    case Layout::awq:
      return static_cast<int>(field(values, k * (N / 8) + n / 8, kAwqField[n % 8], bits));
    case Layout::packed:
      return static_cast<int>(
          field(values, n * rounded_up(K, per_word) + k / per_word, k % per_word, bits));
    default:
      return static_cast<int>(values.as<uint8_t>()[n * K + k]) ^ 128;
  }
}

float IntegerMatrix::scale(int64_t n, int64_t g) const {
  const bool by_columns = layout == Layout::gptq || layout == Layout::awq;
  const int64_t at = by_columns ? g * N + n : n * groups() + g;
  const auto step = static_cast<int64_t>(dtype_bytes(scales.dtype));
  return load_float(scales.as<std::byte>() + at * step, scales.dtype);
}

int IntegerMatrix::zero(int64_t n, int64_t g) const {
  if (!zeros) return half();
  const int64_t per_word = 32 / bits;
  const uint32_t mask = (1u << bits) - 1;
  const uint32_t stored =
      layout == Layout::awq    ? field(zeros, g * (N / 8) + n / 8, kAwqField[n % 8], bits)
      : layout == Layout::gptq ? field(zeros, (g * N + n) / per_word, n % per_word, bits)
                               : field(zeros, n / per_word * groups() + g, n % per_word, bits);
  return static_cast<int>((stored + static_cast<uint32_t>(zero_shift)) & mask);
}

void IntegerMatrix::read(int64_t n, int64_t begin, int64_t count, float* to) const {
  int64_t known = -1;
  float factor = 0.f;
  int middle = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t g = group_of(begin + i);
    if (g != known) {
      known = g;
      factor = scale(n, g);
      middle = zero(n, g);
    }
    to[i] = factor * static_cast<float>(value(n, begin + i) - middle);
  }
}

}  // namespace moe

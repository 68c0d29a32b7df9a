#include "weights/fp8_matrix.h"

#include <cmath>

#include "core/check.h"
#include "weights/formats/fp8.h"
#include "weights/source_row.h"

namespace moe {
namespace {

/// Nearest bf16, ties to even. The float between keeps whether anything was cut off ("round to
/// odd"), so that it is the only rounding.
float round_once(double value) {
  const float near = static_cast<float>(value);
  if (static_cast<double>(near) == value || std::isnan(value)) return to_float(to_bf16(near));
  const uint32_t bits = float_to_bits(near);
  const bool away = std::abs(static_cast<double>(near)) > std::abs(value);
  return to_float(to_bf16(bits_to_float((away ? bits - 1 : bits) | 1)));
}

}  // namespace

void Fp8Matrix::prepare() {
  const Check check("fp8");
  check.that(block_rows >= 1, "blockRows", "at least 1", block_rows);
  check.that(block_columns >= 1, "blockColumns", "at least 1", block_columns);
  const auto blocks = [](int64_t n, int64_t of) { return n / of + (n % of != 0); };
  check.shape("values", values, {N, K});
  check.dtype("values", values, {DType::u8});
  check.contiguous("values", values);
  check.shape("scales", scales, {blocks(N, block_rows), blocks(K, block_columns)});
  check.dtype("scales", scales, {DType::f32, DType::bf16, DType::f16, DType::u8});
  check.contiguous("scales", scales);
  for (int64_t n = 0; n < N; n += block_rows)
    for (int64_t k = 0; k < K; k += block_columns)
      if (!std::isfinite(scale(n, k)))
        fail(Code::checkpoint, name, ": scales must be finite, got ", scale(n, k));
}

double Fp8Matrix::scale(int64_t n, int64_t k) const {
  const int64_t i = n / block_rows * scales.last() + k / block_columns;
  const std::byte* at = scales.as<std::byte>() + static_cast<size_t>(i) * dtype_bytes(scales.dtype);
  if (scales.dtype != DType::u8) return load_float(at, scales.dtype);
  const int exponent = std::to_integer<int>(*at);
  return exponent == 255 ? NAN : std::ldexp(1.0, exponent - 127);
}

void Fp8Matrix::read(int64_t n, int64_t begin, int64_t count, float* to) const {
  const uint8_t* from = codes(n);
  for (int64_t k = begin, end; k < begin + count; k = end) {
    end = std::min(begin + count, (k / block_columns + 1) * block_columns);
    const double factor = scale(n, k);
    for (int64_t i = k; i < end; ++i) *to++ = round_once(e4m3_value(from[i]) * factor);
  }
}

}  // namespace moe

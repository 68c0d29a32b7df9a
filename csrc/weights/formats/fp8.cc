#include "weights/formats/fp8.h"

#include <array>
#include <cmath>
#include <vector>

#include "core/check.h"
#include "weights/source_row.h"

namespace moe {
namespace {

/// What the codes stand for.
const std::array<double, 256>& values() {
  static const auto all = [] {
    std::array<double, 256> table;
    for (int code = 0; code < 256; ++code) {
      const int exponent = code >> 3 & 15, fraction = code & 7;
      const double magnitude =
          exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
      table[code] = (code & 127) == 127 ? NAN : code < 128 ? magnitude : -magnitude;
    }
    return table;
  }();
  return all;
}

/// Nearest bf16, ties to even. The float between keeps whether anything was cut off ("round to
/// odd"), so that it is the only rounding.
bf16 round_once(double value) {
  const float near = static_cast<float>(value);
  if (static_cast<double>(near) == value || std::isnan(value)) return to_bf16(near);
  const uint32_t bits = float_to_bits(near);
  const bool away = std::abs(static_cast<double>(near)) > std::abs(value);
  return to_bf16(bits_to_float((away ? bits - 1 : bits) | 1));
}

double scale_at(const Tensor& scales, int64_t i) {
  const std::byte* at = scales.as<std::byte>() + static_cast<size_t>(i) * dtype_bytes(scales.dtype);
  if (scales.dtype != DType::u8) return load_float(at, scales.dtype);
  const int exponent = std::to_integer<int>(*at);
  return exponent == 255 ? NAN : std::ldexp(1.0, exponent - 127);
}

}  // namespace

void unpack(const CpuContext& cpu, const Fp8& source, Tensor& out) {
  const Check check("fp8");
  check.rank("out", out, 2);
  check.dtype("out", out, {DType::bf16});
  check.contiguous("out", out);
  check.that(source.block_rows >= 1, "blockRows", "at least 1", source.block_rows);
  check.that(source.block_columns >= 1, "blockColumns", "at least 1", source.block_columns);
  const int64_t N = out.dim(0), K = out.dim(1), rows = source.block_rows;
  const int64_t columns = source.block_columns, per_row = (K + columns - 1) / columns;
  check.shape("values", source.values, {N, K});
  check.dtype("values", source.values, {DType::u8});
  check.contiguous("values", source.values);
  check.shape("scales", source.scales, {(N + rows - 1) / rows, per_row});
  check.dtype("scales", source.scales, {DType::f32, DType::bf16, DType::f16, DType::u8});
  check.contiguous("scales", source.scales);
  cpu.parallel(N, 64, [&](int64_t begin, int64_t end) {
    // Blocks side by side together, so that a row is read and written in one go.
    constexpr int64_t kTables = 64;
    std::vector<std::array<bf16, 256>> tables(static_cast<size_t>(std::min(kTables, per_row)));
    for (int64_t first = begin, last; first < end; first = last) {
      last = std::min(end, (first / rows + 1) * rows);
      for (int64_t group = 0; group < per_row; group += kTables) {
        const int64_t blocks = std::min(kTables, per_row - group);
        for (int64_t i = 0; i < blocks; ++i) {
          const double scale = scale_at(source.scales, first / rows * per_row + group + i);
          for (size_t code = 0; code < 256; ++code)
            tables[i][code] = round_once(values()[code] * scale);
        }
        for (int64_t n = first; n < last; ++n)
          for (int64_t i = 0; i < blocks; ++i) {
            const int64_t from = (group + i) * columns, count = std::min(columns, K - from);
            const uint8_t* codes = source.values.row<uint8_t>(n) + from;
            bf16* to = out.row<bf16>(n) + from;
            for (int64_t k = 0; k < count; ++k) to[k] = tables[i][codes[k]];
          }
      }
    }
  });
}

}  // namespace moe

#include "weights/formats/mxfp4.h"

#include <algorithm>
#include <cmath>

#include "core/splitmix64.h"
#include "weights/mxfp4_matrix.h"

namespace moe {
namespace {

constexpr int64_t kGroup = Mxfp4Layout::kGroup;
constexpr uint8_t kLeastScale = 2;

/// The nearest code, ties to the even one; what is larger than 6 becomes 6.
uint8_t nearest_code(double value) {
  const double size = std::abs(value);
  const int code = (size > .25) + (size >= .75) + (size > 1.25) + (size >= 1.75) + (size > 2.5) +
                   (size >= 3.5) + (size > 5);
  return static_cast<uint8_t>(code | (value < 0 ? 8 : 0));
}

/// Section 6.3 of the specification: the scale is the power of two below the largest value over
/// that below 6. Returns the scale's byte.
uint8_t quantize(const float* x, uint8_t* codes) {
  float most = 0.f;
  for (int64_t i = 0; i < kGroup; ++i) most = std::abs(x[i]) <= most ? most : std::abs(x[i]);
  std::fill_n(codes, kGroup, 0);
  if (!std::isfinite(most)) return 255;
  if (most == 0.f) return kLeastScale;
  const int exponent = std::max(std::ilogb(most) - 2, kLeastScale - 127);
  const double inverse = std::ldexp(1.0, -exponent);
  for (int64_t i = 0; i < kGroup; ++i) codes[i] = nearest_code(x[i] * inverse);
  return static_cast<uint8_t>(exponent + 127);
}

/// The codes and the scale of 32 k of a row.
uint8_t group_of(const SourceRow& row, int64_t begin, int64_t k, uint8_t* codes) {
  if (const auto* matrix = dynamic_cast<const Mxfp4Matrix*>(row.encoded)) {
    const uint8_t scale = matrix->scale(row.row, begin / kGroup);
    const bool none = scale < kLeastScale;
    for (int64_t i = 0; i < kGroup; ++i) codes[i] = none ? 0 : matrix->code(row.row, begin + i);
    return none ? kLeastScale : scale;
  }
  float x[kGroup] = {};
  if (!row.none()) row.read(begin, std::min(kGroup, k - begin), x);
  return quantize(x, codes);
}

void pack_panel(const SourceRow* rows, int64_t k, std::byte* panel) {
  uint8_t codes[kGroup];
  for (int64_t begin = 0; begin < k; begin += kGroup, panel += Mxfp4Layout::kGroupBytes)
    for (int64_t place = 0; place < kPanel; ++place) {
      const uint8_t scale = group_of(rows[place], begin, k, codes);
      auto* to = reinterpret_cast<uint8_t*>(panel) + 4 * place;
      for (int64_t i = 0; i < kGroup; i += 8, to += 256)
        for (int64_t j = 0; j < 4; ++j)
          to[j] = static_cast<uint8_t>(codes[i + j] | codes[i + j + 4] << 4);
      panel[Mxfp4Layout::kLineBytes + place] = static_cast<std::byte>(scale);
    }
}

/// Any codes; scales of the two powers of two whose mix has the deviation.
void random_panel(int64_t k, float deviation, uint64_t seed, std::byte* panel) {
  constexpr float kMeanSquare = 68.5f / 8;  // of codes
  const float unit = deviation / std::sqrt(kMeanSquare);
  const int exponent =
      unit > 0.f ? std::clamp(std::ilogb(unit), kLeastScale - 127, 126) : kLeastScale - 127;
  const float over = unit / std::ldexp(1.f, exponent);                     // 1 to 2
  const auto larger = static_cast<uint64_t>((over * over - 1) / 3 * 256);  // of 256 scales
  uint64_t i = 0;
  for (int64_t g = 0; g < Mxfp4Layout::groups(k); ++g) {
    for (int64_t at = 0; at < Mxfp4Layout::kLineBytes; at += 8, panel += 8) {
      const uint64_t bits = splitmix64(seed, i++);
      std::memcpy(panel, &bits, sizeof bits);
    }
    for (int64_t place = 0; place < kPanel; ++place) {
      const bool up = unit > 0.f && splitmix64(seed, i++) % 256 < larger;
      *panel++ = static_cast<std::byte>(exponent + 127 + (up ? 1 : 0));
    }
  }
}

size_t panel_bytes(int64_t k) {
  return static_cast<size_t>(Mxfp4Layout::groups(k) * Mxfp4Layout::kGroupBytes);
}

}  // namespace

constexpr Format kMxfp4Format = {WeightFormat::mxfp4,
                                 "mxfp4",
                                 std::nullopt,
                                 {kPanel, panel_bytes, pack_panel, random_panel},
                                 std::nullopt};

}  // namespace moe

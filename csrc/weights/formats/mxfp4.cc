#include "weights/formats/mxfp4.h"

#include <algorithm>
#include <cmath>

#include "core/splitmix64.h"
#include "weights/mxfp4_matrix.h"

namespace moe {
namespace {

constexpr int64_t kGroup = Mxfp4Layout::kGroup;
constexpr uint8_t kLeastScale = 2;

struct HostPanel {
  static constexpr int64_t kTile = kPanel;
  static size_t bytes(int64_t k) {
    return static_cast<size_t>(Mxfp4Layout::groups(k) * Mxfp4Layout::kGroupBytes);
  }

  std::byte* panel;
  int64_t k;

  std::byte* numbers(int64_t group) const { return panel + group * Mxfp4Layout::kGroupBytes; }
  int64_t number_bytes(int64_t) const { return Mxfp4Layout::kLineBytes; }
  void put(int64_t group, int64_t place, const uint8_t* codes) const {
    auto* to = reinterpret_cast<uint8_t*>(numbers(group)) + 4 * place;
    for (int64_t i = 0; i < kGroup; i += 8, to += 256)
      for (int64_t j = 0; j < 4; ++j)
        to[j] = static_cast<uint8_t>(codes[i + j] | codes[i + j + 4] << 4);
  }
  void put_scale(int64_t group, int64_t place, uint8_t scale) const {
    numbers(group)[Mxfp4Layout::kLineBytes + place] = std::byte{scale};
  }
};
using GpuPanel = FragmentPanel<Mxfp4Layout::fragments(), kGroup>;

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

template <class Panel>
void pack_panel(const SourceRow* rows, int64_t k, std::byte* to) {
  const Panel panel{to, k};
  uint8_t codes[kGroup];
  for (int64_t g = 0; g < Mxfp4Layout::groups(k); ++g)
    for (int64_t place = 0; place < kPanel; ++place) {
      panel.put_scale(g, place, group_of(rows[place], g * kGroup, k, codes));
      panel.put(g, place, codes);
    }
}

/// Any codes; scales of the two powers of two whose mix has the deviation.
template <class Panel>
void random_panel(int64_t k, float deviation, uint64_t seed, std::byte* to) {
  const Panel panel{to, k};
  constexpr float kMeanSquare = 68.5f / 8;  // of codes
  const float unit = deviation / std::sqrt(kMeanSquare);
  const int exponent =
      unit > 0.f ? std::clamp(std::ilogb(unit), kLeastScale - 127, 126) : kLeastScale - 127;
  const float over = unit / std::ldexp(1.f, exponent);                     // 1 to 2
  const auto larger = static_cast<uint64_t>((over * over - 1) / 3 * 256);  // of 256 scales
  uint64_t i = 0;
  for (int64_t g = 0; g < Mxfp4Layout::groups(k); ++g) {
    for (int64_t at = 0; at < panel.number_bytes(g); at += 8) {
      const uint64_t bits = splitmix64(seed, i++);
      std::memcpy(panel.numbers(g) + at, &bits, sizeof bits);
    }
    for (int64_t place = 0; place < kPanel; ++place) {
      const bool up = unit > 0.f && splitmix64(seed, i++) % 256 < larger;
      panel.put_scale(g, place, static_cast<uint8_t>(exponent + 127 + (up ? 1 : 0)));
    }
  }
}

template <class Panel>
constexpr Packing packing() {
  return {Panel::kTile, Panel::bytes, pack_panel<Panel>, random_panel<Panel>};
}

}  // namespace

constexpr Format kMxfp4Format = {WeightFormat::mxfp4, "mxfp4", std::nullopt, packing<HostPanel>(),
                                 packing<GpuPanel>()};

}  // namespace moe

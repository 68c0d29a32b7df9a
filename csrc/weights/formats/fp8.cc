#include "weights/formats/fp8.h"

#include <algorithm>

#include "core/splitmix64.h"
#include "weights/fp8_matrix.h"

namespace moe {
namespace {

constexpr int64_t kGroup = Fp8Layout::kGroup;

/// As it is stored.
float stored_scale(double scale, const SourceRow& row) {
  if (std::isfinite(scale) && std::abs(scale) >= 256)
    fail(Code::checkpoint, row.encoded ? row.encoded->name : "fp8",
         ": scales must be below 256 for FP8 that is kept as it is (weights: 'bf16' unpacks it), "
         "got ",
         scale);
  return static_cast<float>(scale * 0x1p120);
}

/// The matrix of a row whose codes and scales the format holds.
template <const Fp8Layout& L>
const Fp8Matrix* held(const SourceRow& row) {
  const auto* matrix = dynamic_cast<const Fp8Matrix*>(row.encoded);
  if (!matrix) return nullptr;
  const bool whole = matrix->block_columns >= matrix->K;
  return whole || (L.by_group && matrix->block_columns % kGroup == 0) ? matrix : nullptr;
}

/// max |x|; NaN if there is one.
float most_of(const float* x, int64_t n) {
  float most = 0.f;
  for (int64_t i = 0; i < n && !std::isnan(most); ++i)
    most = std::abs(x[i]) <= most ? most : std::abs(x[i]);
  return most;
}

/// Codes begin .. begin + n of a row of k; a scale of zero makes zeros.
void quantize(const float* x, int64_t n, float scale, uint8_t* codes) {
  const bool usable = std::isfinite(scale) && scale != 0.f;
  for (int64_t i = 0; i < n; ++i) codes[i] = usable ? e4m3_code(x[i] / scale) : uint8_t{0};
}

float largest(const SourceRow& row, int64_t k) {
  float x[kGroup], most = 0.f;
  for (int64_t begin = 0; begin < k && !std::isnan(most); begin += kGroup) {
    const int64_t n = std::min(kGroup, k - begin);
    row.read(begin, n, x);
    const float here = most_of(x, n);
    most = here <= most ? most : here;
  }
  return most;
}

bool has_nan(const uint8_t* codes, int64_t n) {
  return std::any_of(codes, codes + n, [](uint8_t code) { return (code & 127) == 127; });
}

template <const Fp8Layout& L>
void pack_place(const SourceRow& row, int64_t k, int64_t place, std::byte* panel) {
  const Fp8Matrix* matrix = held<L>(row);
  float alone = 0.f;  // the row's scale
  if (!L.by_group && !row.none())
    alone = matrix ? static_cast<float>(matrix->scale(row.row, 0)) : largest(row, k) / 448.f;
  bool lost = false;  // there was a NaN
  for (int64_t begin = 0; begin < k; begin += kGroup) {
    const int64_t n = row.none() ? 0 : std::min(kGroup, k - begin);
    uint8_t codes[kGroup] = {};
    float scale = alone;
    if (matrix) {
      if (L.by_group) scale = static_cast<float>(matrix->scale(row.row, begin));
      std::copy_n(matrix->codes(row.row) + begin, n, codes);
    } else if (n) {
      float x[kGroup];
      row.read(begin, n, x);
      if (L.by_group) scale = most_of(x, n) / 448.f;
      quantize(x, n, scale, codes);
    }
    lost = (L.by_group ? false : lost) || has_nan(codes, n);
    std::byte* to = panel + begin / kGroup * L.group_bytes() + 4 * place;
    for (int64_t i = 0; i < kGroup; i += 4) std::memcpy(to + i * 64, codes + i, 4);
    if (!L.by_group) continue;
    const float stored = lost ? NAN : stored_scale(scale, row);
    std::memcpy(to + L.kLineBytes, &stored, sizeof stored);
  }
  if (L.by_group) return;
  const float stored = lost ? NAN : stored_scale(alone, row);
  std::memcpy(panel + L.groups(k) * L.group_bytes() + 4 * place, &stored, sizeof stored);
}

template <const Fp8Layout& L>
void pack_panel(const SourceRow* rows, int64_t k, std::byte* panel) {
  for (int64_t place = 0; place < kPanel; ++place) pack_place<L>(rows[place], k, place, panel);
}

/// Codes of sizes 2 to 448, as many of each exponent.
template <const Fp8Layout& L>
void random_panel(int64_t k, float deviation, uint64_t seed, std::byte* panel) {
  const auto code_of = [](uint8_t bits) {
    const auto code = static_cast<uint8_t>(bits | 0x40);
    return (code & 127) == 127 ? static_cast<uint8_t>(code ^ 8) : code;
  };
  double square = 0;
  for (int bits = 0; bits < 256; ++bits) {
    const double value = e4m3_value(code_of(static_cast<uint8_t>(bits)));
    square += value * value / 256;
  }
  float scales[kPanel];
  std::fill_n(scales, kPanel, static_cast<float>(deviation / std::sqrt(square) * 0x1p120));
  uint64_t i = 0;
  for (int64_t g = 0; g < L.groups(k); ++g, panel += L.group_bytes()) {
    for (int64_t at = 0; at < L.kLineBytes; at += 8) {
      const uint64_t bits = splitmix64(seed, i++);
      for (int64_t b = 0; b < 8; ++b)
        panel[at + b] = static_cast<std::byte>(code_of(static_cast<uint8_t>(bits >> 8 * b)));
    }
    if (L.by_group) std::memcpy(panel + L.kLineBytes, scales, sizeof scales);
  }
  if (!L.by_group) std::memcpy(panel, scales, sizeof scales);
}

template <const Fp8Layout& L>
size_t panel_bytes(int64_t k) {
  return static_cast<size_t>(L.panel_bytes(k));
}

template <const Fp8Layout& L>
constexpr Format fp8() {
  return {L.id,
          L.name,
          std::nullopt,
          {kPanel, panel_bytes<L>, pack_panel<L>, random_panel<L>},
          std::nullopt};
}

}  // namespace

constexpr Format kFp8Format = fp8<kFp8>(), kFp8G128Format = fp8<kFp8G128>();

}  // namespace moe

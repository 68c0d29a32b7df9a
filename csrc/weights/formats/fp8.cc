#include "weights/formats/fp8.h"

#include <algorithm>

#include "core/splitmix64.h"
#include "weights/fp8_matrix.h"

namespace moe {
namespace {

constexpr int64_t kGroup = Fp8Layout::kGroup;

template <const Fp8Layout& L>
struct HostPanel {
  static constexpr int64_t kTile = kPanel;
  static size_t bytes(int64_t k) { return static_cast<size_t>(L.panel_bytes(k)); }

  std::byte* panel;
  int64_t k;

  std::byte* numbers(int64_t group) const { return panel + group * L.group_bytes(); }
  int64_t number_bytes(int64_t) const { return L.kLineBytes; }
  void put(int64_t group, int64_t place, const uint8_t* codes) const {
    std::byte* to = numbers(group) + 4 * place;
    for (int64_t i = 0; i < kGroup; i += 4) std::memcpy(to + i * 64, codes + i, 4);
  }
  void put_scale(int64_t group, int64_t place, float scale) const {
    std::byte* scales = L.by_group ? numbers(group) + L.kLineBytes : numbers(L.groups(k));
    std::memcpy(scales + 4 * place, &scale, sizeof scale);
  }
};

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

template <const Fp8Layout& L, class Panel>
void pack_place(const SourceRow& row, int64_t place, const Panel& panel) {
  const int64_t k = panel.k;
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
    panel.put(begin / kGroup, place, codes);
    if (L.by_group) panel.put_scale(begin / kGroup, place, lost ? NAN : stored_scale(scale, row));
  }
  if (!L.by_group) panel.put_scale(0, place, lost ? NAN : stored_scale(alone, row));
}

template <const Fp8Layout& L, class Panel>
void pack_panel(const SourceRow* rows, int64_t k, std::byte* to) {
  for (int64_t place = 0; place < kPanel; ++place) pack_place<L>(rows[place], place, Panel{to, k});
}

/// Codes of sizes 2 to 448, as many of each exponent.
template <const Fp8Layout& L, class Panel>
void random_panel(int64_t k, float deviation, uint64_t seed, std::byte* to) {
  const Panel panel{to, k};
  const auto code_of = [](uint8_t bits) {
    const auto code = static_cast<uint8_t>(bits | 0x40);
    return (code & 127) == 127 ? static_cast<uint8_t>(code ^ 8) : code;
  };
  double square = 0;
  for (int bits = 0; bits < 256; ++bits) {
    const double value = e4m3_value(code_of(static_cast<uint8_t>(bits)));
    square += value * value / 256;
  }
  uint64_t i = 0;
  for (int64_t g = 0; g < L.groups(k); ++g)
    for (int64_t at = 0; at < panel.number_bytes(g); at += 8) {
      const uint64_t bits = splitmix64(seed, i++);
      for (int64_t b = 0; b < 8; ++b)
        panel.numbers(g)[at + b] =
            static_cast<std::byte>(code_of(static_cast<uint8_t>(bits >> 8 * b)));
    }
  const auto scale = static_cast<float>(deviation / std::sqrt(square) * 0x1p120);
  for (int64_t g = 0; g < (L.by_group ? L.groups(k) : 1); ++g)
    for (int64_t place = 0; place < kPanel; ++place) panel.put_scale(g, place, scale);
}

template <const Fp8Layout& L, class Panel>
constexpr Packing packing() {
  return {Panel::kTile, Panel::bytes, pack_panel<L, Panel>, random_panel<L, Panel>};
}

template <const Fp8Layout& L>
constexpr Format fp8() {
  using Gpu = FragmentPanel<L.fragments(), kGroup>;
  return {L.id, L.name, std::nullopt, packing<L, HostPanel<L>>(), packing<L, Gpu>()};
}

}  // namespace

constexpr Format kFp8Format = fp8<kFp8>(), kFp8G128Format = fp8<kFp8G128>();

}  // namespace moe

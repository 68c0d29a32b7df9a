#include <algorithm>
#include <cmath>

#include "core/splitmix64.h"
#include "weights/formats/integer_panels.h"
#include "weights/integer_matrix.h"

namespace moe {
namespace {

/// Values begin .. begin + n of a row, zeros behind its end.
void widen(const SourceRow& row, int64_t begin, int64_t n, int64_t k, float* to) {
  const int64_t real = row.none() ? 0 : std::min(n, k - begin);
  if (real > 0) row.read(begin, real, to);
  std::fill(to + std::max<int64_t>(real, 0), to + n, 0.f);
}

/// max |x|; NaN if there is one.
template <int64_t N>
float most_of(const float* x) {
  int32_t most = 0;  // as integers, sizes are ordered as the numbers are
  for (int64_t i = 0; i < N; ++i)
    most = std::max(most, static_cast<int32_t>(float_to_bits(x[i]) & 0x7fffffff));
  return bits_to_float(static_cast<uint32_t>(most));
}

float rounded_scale(float scale) { return to_float(to_f16(scale)); }

/// int8: -127 to 127. int4: the value of the largest size, of both signs the positive one, becomes
/// -8, so its scale may be negative.
template <const IntegerLayout& L>
Rule symmetric(const float* x) {
  const float most = most_of<L.group>(x);
  if (L.bits == 8) return {rounded_scale(most / 127.f), 128.f};
  const bool positive = std::find(x, x + L.group, most) != x + L.group;
  return {rounded_scale(positive ? most / -8.f : most / 8.f), 8.f};
}

/// From the least to the greatest value, with 0 among them.
template <const IntegerLayout& L>
Rule asymmetric(const float* x) {
  if (!std::isfinite(most_of<L.group>(x))) return {most_of<L.group>(x), 0.f};
  float low = 0.f, high = 0.f;
  for (int64_t i = 0; i < L.group; ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
  const float scale = rounded_scale((high - low) / 15.f);
  return {scale, scale > 0.f ? std::min(std::nearbyint(-low / scale), 15.f) : 0.f};
}

/// Values as they are stored, to q [group].
template <const IntegerLayout& L>
void quantize(const float* x, Rule rule, uint8_t* q) {
  constexpr float kMagic = 12582912.f;  // adding 1.5 * 2^23 rounds to an integer, ties to even
  constexpr int kLow = L.bits == 8 ? 1 : 0, kHigh = L.bits == 8 ? 255 : 15;
  const bool usable = rule.scale != 0.f && std::isfinite(rule.scale);
  const float inverse = usable ? 1.f / rule.scale : 0.f;
  const int zero = static_cast<int>(rule.zero);
  for (int64_t i = 0; i < L.group; ++i) {
    const float scaled = x[i] * inverse;
    const float shifted = scaled + kMagic;  // a statement of its own: never one multiply-add
    const int whole = std::bit_cast<int>(shifted) - std::bit_cast<int>(kMagic) + zero;
    q[i] = static_cast<uint8_t>(std::min(std::max(whole, kLow), kHigh));
  }
}

/// The format stores what the row's matrix does, as it is.
template <const IntegerLayout& L>
bool holds(const SourceRow& row) {
  const auto* m = dynamic_cast<const IntegerMatrix*>(row.encoded);
  if (!m || m->order || m->bits != L.bits || (!L.zeros && !m->symmetric)) return false;
  return L.by_group ? m->group % L.group == 0 || m->group >= m->K : m->group >= m->K;
}

/// The same for all rows of a panel.
template <const IntegerLayout& L>
bool holds(const SourceRow* rows) {
  return std::all_of(rows, rows + kPanel,
                     [](const SourceRow& row) { return row.none() || holds<L>(row); });
}

/// A group's integers of a matrix that the format holds.
template <const IntegerLayout& L>
Rule copy_group(const SourceRow& row, int64_t begin, int64_t k, uint8_t* q) {
  const auto& m = static_cast<const IntegerMatrix&>(*row.encoded);
  const int64_t g = m.group_of(begin);
  const Rule rule{m.scale(row.row, g), static_cast<float>(m.zero(row.row, g))};
  for (int64_t i = 0; i < L.group; ++i)
    q[i] = static_cast<uint8_t>(begin + i < k ? m.value(row.row, begin + i) : rule.zero);
  return rule;
}

template <const IntegerLayout& L>
float channel_scale(const SourceRow& row, int64_t k, bool held) {
  if (row.none()) return 0.f;
  if (held) return static_cast<const IntegerMatrix&>(*row.encoded).scale(row.row, 0);
  float x[L.group], most = 0.f;
  for (int64_t begin = 0; begin < k && !std::isnan(most); begin += L.group) {
    widen(row, begin, L.group, k, x);
    const float here = most_of<L.group>(x);
    most = here <= most ? most : here;  // NaN stays
  }
  return most / 127.f;
}

template <const IntegerLayout& L, class Panel>
void pack_panel(const SourceRow* rows, int64_t k, std::byte* to) {
  const Panel panel{to, k};
  const bool held = holds<L>(rows);
  float x[L.group], scales[kPanel] = {};
  uint8_t q[L.group];
  if (!L.by_group)
    for (int64_t place = 0; place < kPanel; ++place) {
      scales[place] = channel_scale<L>(rows[place], k, held);
      panel.put(0, place, Rule{scales[place], 128.f});
    }
  for (int64_t g = 0; g < L.groups(k); ++g)
    for (int64_t place = 0; place < kPanel; ++place) {
      const int64_t begin = g * L.group;
      Rule rule;
      if (held && !rows[place].none()) {
        rule = copy_group<L>(rows[place], begin, k, q);
      } else {
        widen(rows[place], begin, L.group, k, x);
        rule = !L.by_group ? Rule{scales[place], 128.f}
               : L.zeros   ? asymmetric<L>(x)
                           : symmetric<L>(x);
        quantize<L>(x, rule, q);
      }
      panel.put(g, place, q);
      if (L.by_group) panel.put(g, place, rule);
    }
}

/// Evenly spread integers, as far above zero as below.
template <const IntegerLayout& L, class Panel>
void random_panel(int64_t k, float deviation, uint64_t seed, std::byte* to) {
  constexpr float kHalf = L.bits == 8 ? 127.f : 7.f;
  const Panel panel{to, k};
  uint64_t i = 0;
  for (int64_t g = 0; g < L.groups(k); ++g)
    for (int64_t at = 0; at < panel.number_bytes(g); at += 8) {
      uint64_t bits = splitmix64(seed, i++);
      // A stored 0 has no value of its size above zero: it becomes zero itself, the highest bit.
      constexpr uint64_t kHigh = L.bits == 8 ? 0x8080808080808080u : 0x8888888888888888u;
      bits |= ~(((bits & ~kHigh) + ~kHigh) | bits) & kHigh;
      std::memcpy(panel.numbers(g) + at, &bits, sizeof bits);
    }
  const Rule rule{deviation * 1.7320508f / kHalf, L.bits == 8 ? 128.f : 8.f};
  for (int64_t g = 0; g < (L.by_group ? L.groups(k) : 1); ++g)
    for (int64_t place = 0; place < kPanel; ++place) panel.put(g, place, rule);
}

template <const IntegerLayout& L>
void file_row(const SourceRow& row, int64_t k, std::byte* values, std::byte* scales) {
  float x[L.group];
  uint8_t q[L.group];
  const float channel = L.by_group ? 0.f : channel_scale<L>(row, k, false);
  if (!L.by_group) std::memcpy(scales, &channel, sizeof channel);
  for (int64_t begin = 0; begin < k; begin += L.group) {
    widen(row, begin, L.group, k, x);
    const Rule rule = L.by_group ? symmetric<L>(x) : Rule{channel, 128.f};
    quantize<L>(x, rule, q);
    if (L.bits == 8) {
      for (int64_t i = 0; i < std::min(L.group, k - begin); ++i)
        *values++ = static_cast<std::byte>(q[i] - 128);
      continue;
    }
    for (int64_t i = 0; i < L.group; i += 2)
      *values++ = static_cast<std::byte>(q[i] | q[i + 1] << 4);
    const f16 scale = to_f16(rule.scale);
    std::memcpy(scales, &scale, sizeof scale);
    scales += sizeof scale;
  }
}

template <const IntegerLayout& L, class Panel>
constexpr Packing packing() {
  return {Panel::kTile, Panel::bytes, pack_panel<L, Panel>, random_panel<L, Panel>};
}

template <const IntegerLayout& L>
constexpr Format integer() {
  return {L.id, L.name, std::nullopt, packing<L, HostPanel<L>>(), packing<L, GpuPanel<L>>()};
}

}  // namespace

void quantize_row(const IntegerLayout& layout, const SourceRow& row, int64_t k, std::byte* values,
                  std::byte* scales) {
  const auto write = layout.bits == 8      ? file_row<kInt8>
                     : layout.group == 128 ? file_row<kInt4G128>
                                           : file_row<kInt4G32>;
  write(row, k, values, scales);
}

constexpr Format kInt8Format = integer<kInt8>(), kInt8G128Format = integer<kInt8G128>(),
                 kInt4G32Format = integer<kInt4G32>(), kInt4G128Format = integer<kInt4G128>(),
                 kInt4G32ZFormat = integer<kInt4G32Z>(), kInt4G128ZFormat = integer<kInt4G128Z>();

}  // namespace moe

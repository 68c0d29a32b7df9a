#include "weights/formats/dense.h"

#include <algorithm>

namespace moe {
namespace {

template <class T>
constexpr DType kDType = is_bf16<T> ? DType::bf16 : DType::f32;

template <class T>
constexpr int64_t kPerWord = sizeof(uint32_t) / sizeof(T);

typedef uint32_t Words __attribute__((vector_size(16)));

Words load_words(const std::byte* from) {
  Words words;
  std::memcpy(&words, from, sizeof words);
  return words;
}

/// Rows whose bits are taken as they are; a word is one f32 or a pair of bf16. A transposition, by
/// squares of four words; a cache line of each of the 64 rows at a time, and those behind it on
/// their way, since so many streams are more than hardware foresees.
void copy_words(const SourceRow* rows, int64_t words, uint32_t* out) {
  constexpr int64_t kLine = 16, kAhead = 4 * 64;
  const int64_t whole = words / kLine * kLine;
  for (int64_t i = 0; i < whole; i += kLine) {
    for (int64_t c = 0; c < kPanel; c += 4) {
      for (int64_t r = 0; r < 4; ++r) __builtin_prefetch(rows[c + r].data + 4 * i + kAhead);
      for (int64_t w = i; w < i + kLine; w += 4) {
        const Words a = load_words(rows[c].data + 4 * w), b = load_words(rows[c + 1].data + 4 * w);
        const Words d = load_words(rows[c + 2].data + 4 * w);
        const Words e = load_words(rows[c + 3].data + 4 * w);
        const Words ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        const Words ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        const Words de = __builtin_shufflevector(d, e, 0, 4, 1, 5);
        const Words de2 = __builtin_shufflevector(d, e, 2, 6, 3, 7);
        const Words lines[] = {__builtin_shufflevector(ab, de, 0, 1, 4, 5),
                               __builtin_shufflevector(ab, de, 2, 3, 6, 7),
                               __builtin_shufflevector(ab2, de2, 0, 1, 4, 5),
                               __builtin_shufflevector(ab2, de2, 2, 3, 6, 7)};
        for (int64_t l = 0; l < 4; ++l)
          std::memcpy(out + (w + l) * kPanel + c, &lines[l], sizeof lines[l]);
      }
    }
  }
  for (int64_t i = whole; i < words; ++i)
    for (int64_t c = 0; c < kPanel; ++c) std::memcpy(out + i * kPanel + c, rows[c].data + 4 * i, 4);
}

/// Values from `begin` on of the row at one place; `out` is the place's first word.
template <class T>
void convert(const SourceRow& row, int64_t begin, int64_t k, T* out) {
  constexpr int64_t P = kPerWord<T>, kPiece = 256;
  for (int64_t at = begin; at < k; at += kPiece) {
    float values[kPiece];
    const int64_t n = std::min(kPiece, k - at);
    row.read(at, n, values);
    for (int64_t i = 0; i < n; ++i)
      out[(at + i) / P * P * kPanel + (at + i) % P] = from_float<T>(values[i]);
  }
}

template <class T>
size_t panel_bytes(int64_t k) {
  return static_cast<size_t>(DensePanel::lines(kDType<T>, k) * DensePanel::kLineBytes);
}

template <class T>
void pack_panel(const SourceRow* rows, int64_t k, std::byte* panel) {
  const bool as_is =
      std::all_of(rows, rows + kPanel, [](const SourceRow& row) { return row.plain(kDType<T>); });
  const int64_t words = as_is ? k / kPerWord<T> : 0;
  copy_words(rows, words, reinterpret_cast<uint32_t*>(panel));
  const size_t copied = static_cast<size_t>(words * DensePanel::kLineBytes);
  std::memset(panel + copied, 0, panel_bytes<T>(k) - copied);
  for (int64_t c = 0; c < kPanel; ++c)  // after the words, an odd k leaves one bf16 value
    if (!rows[c].none())
      convert(rows[c], words * kPerWord<T>, k, reinterpret_cast<T*>(panel) + c * kPerWord<T>);
}

template <class T>
size_t fragment_bytes(int64_t k) {
  return static_cast<size_t>(FragmentGrid::steps_of(k) * FragmentGrid::kStepValues) * sizeof(T);
}

/// One row's values of a tile: lane t of its group holds k = 2t, 2t + 1 and then 2t + 8, 2t + 9.
template <class T>
void pack_fragment_row(const SourceRow& row, int64_t k, T* to) {
  for (int64_t begin = 0; begin < k; begin += FragmentGrid::kStep) {
    T values[FragmentGrid::kStep] = {};
    const int64_t count = row.none() ? 0 : std::min(FragmentGrid::kStep, k - begin);
    if (row.plain(kDType<T>)) {
      std::memcpy(values, row.data + static_cast<size_t>(begin) * sizeof(T),
                  static_cast<size_t>(count) * sizeof(T));
    } else if (count) {
      float wide[FragmentGrid::kStep];
      row.read(begin, count, wide);
      for (int64_t i = 0; i < count; ++i) values[i] = from_float<T>(wide[i]);
    }
    for (int64_t t = 0; t < 4; ++t) {
      std::memcpy(to + t * FragmentGrid::kLaneValues, values + 2 * t, 2 * sizeof(T));
      std::memcpy(to + t * FragmentGrid::kLaneValues + 4, values + 2 * t + 8, 2 * sizeof(T));
    }
    to += FragmentGrid::kStepValues;
  }
}

template <class T>
void pack_fragments(const SourceRow* rows, int64_t k, std::byte* panel) {
  for (int64_t place = 0; place < kPanel; ++place) {
    const int64_t tile = place / FragmentGrid::kTile, r = place % FragmentGrid::kTile;
    const int64_t lane = 4 * (r % 8), upper = r / 8;
    pack_fragment_row(rows[place], k,
                      reinterpret_cast<T*>(panel) + tile * FragmentGrid::kTileValues +
                          lane * FragmentGrid::kLaneValues + 2 * upper);
  }
}

template <class T>
constexpr Format dense(WeightFormat id, const char* name) {
  return {id,
          name,
          kDType<T>,
          {kPanel, panel_bytes<T>, pack_panel<T>},
          Packing{FragmentGrid::kTile, fragment_bytes<T>, pack_fragments<T>}};
}

}  // namespace

constexpr Format kF32Format = dense<float>(WeightFormat::f32, "f32");
constexpr Format kBf16Format = dense<bf16>(WeightFormat::bf16, "bf16");

}  // namespace moe

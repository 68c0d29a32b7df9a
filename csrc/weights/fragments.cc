#include "weights/fragments.h"

#include <algorithm>
#include <cstring>

namespace moe {
namespace {

/// One row's values of a tile: lane t of its group holds k = 2t, 2t + 1 and then 2t + 8, 2t + 9.
template <class T>
void pack_row(const SourceRow& row, int64_t k, int64_t steps, T* to) {
  const size_t element = dtype_bytes(row.dtype);
  for (int64_t step = 0; step < steps; ++step, to += 4 * FragmentGrid::kTileValues) {
    T values[FragmentGrid::kStep] = {};
    const int64_t begin = step * FragmentGrid::kStep;
    const int64_t count = row.data ? std::min(FragmentGrid::kStep, k - begin) : 0;
    const std::byte* from = row.data + static_cast<size_t>(begin) * element;
    if (element == sizeof(T) && row.dtype != DType::f16)
      std::memcpy(values, from, static_cast<size_t>(count) * sizeof(T));
    else
      for (int64_t i = 0; i < count; ++i)
        values[i] = from_float<T>(load_float(from + static_cast<size_t>(i) * element, row.dtype));
    for (int64_t t = 0; t < 4; ++t) {
      std::memcpy(to + t * FragmentGrid::kLaneValues, values + 2 * t, 2 * sizeof(T));
      std::memcpy(to + t * FragmentGrid::kLaneValues + 4, values + 2 * t + 8, 2 * sizeof(T));
    }
  }
}

template <class T>
void pack_panel(const FragmentGrid& grid, const std::vector<SourceRow>& rows, int64_t k,
                int64_t panel, T* to) {
  for (int64_t tile = 0; tile < 4; ++tile) {
    for (int64_t r = 0; r < FragmentGrid::kTile; ++r) {
      // For gate_up, rows 8 to 15 of a tile are the up rows of its 8 outputs.
      const int64_t half = r / grid.per_tile;
      const int64_t column = (panel * 4 + tile) * grid.per_tile + r % grid.per_tile;
      const SourceRow row = column < grid.columns
                                ? rows[static_cast<size_t>(half * grid.columns + column)]
                                : SourceRow{nullptr, DType::f32};
      const int64_t lane = 4 * (r % 8), upper = r / 8;
      pack_row(
          row, k, grid.steps,
          to + tile * FragmentGrid::kTileValues + lane * FragmentGrid::kLaneValues + 2 * upper);
    }
  }
}

}  // namespace

void pack_fragments(const FragmentGrid& grid, const std::vector<SourceRow>& rows, int64_t k,
                    DType dtype, int64_t panel, std::byte* to) {
  if (dtype == DType::f32)
    pack_panel(grid, rows, k, panel, reinterpret_cast<float*>(to));
  else
    pack_panel(grid, rows, k, panel, reinterpret_cast<bf16*>(to));
}

}  // namespace moe

#pragma once

#include "core/plan.h"
#include "weights/pack.h"

namespace moe {

/// Geometry of a packed [N, K] weight on a GPU: the order in which a warp's lanes hold the A
/// operand of m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16"), so that a lane gets its part
/// of a 16 x 16 tile with one load, whether from global or shared memory, for mma.sync and wgmma
/// alike.
///
///   [panels][K / 16 steps][4 tiles][32 lanes][8 values]
///
/// A panel is 64 output rows, and one step of it is contiguous. Lane 4g + t of a tile holds
/// (row, k): (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1), then the same with k + 8.
/// Rows past N and k past K are zero.
///
/// `gate_up` weights are [2I, K], gate rows first. A tile holds 8 gate rows and under them their 8
/// up rows, so one lane has both factors of SwiGLU.
struct FragmentGrid {
  static constexpr int64_t kPanel = 64, kTile = 16, kStep = 16, kLaneValues = 8;
  static constexpr int64_t kTileValues = 32 * kLaneValues;

  FragmentGrid(int64_t n, int64_t k, Layout layout)
      : columns(layout == Layout::gate_up ? n / 2 : n),
        per_tile(layout == Layout::gate_up ? kTile / 2 : kTile),
        panels((columns + 4 * per_tile - 1) / (4 * per_tile)),
        steps((k + kStep - 1) / kStep) {}

  int64_t columns;   // outputs: N, or I for gate_up
  int64_t per_tile;  // outputs of one tile
  int64_t panels, steps;

  int64_t panel_values() const { return steps * 4 * kTileValues; }
  size_t bytes(DType dtype) const {
    return static_cast<size_t>(panels * panel_values()) * dtype_bytes(dtype);
  }
};

/// Fills panel `panel` of a packed weight of `rows` of length k.
void pack_fragments(const FragmentGrid& grid, const std::vector<SourceRow>& rows, int64_t k,
                    DType dtype, int64_t panel, std::byte* to);

}  // namespace moe

#pragma once

#include "weights/format.h"

namespace moe {

/// Weights of plain f32 or bf16 values.
extern const Format kF32Format, kBf16Format;

/// The element type, for code that multiplies with plain values only: throws for other formats.
inline DType dense_dtype(WeightFormat format) {
  if (format == WeightFormat::f32) return DType::f32;
  if (format == WeightFormat::bf16) return DType::bf16;
  fail(Code::unsupported, "weight: format must be f32 or bf16 on this device");
}

/// Geometry of a panel on the host. k runs slowest, so that a thread streams one contiguous range:
/// f32 stores a line of 64 values for each k; bf16 stores a line of 64 pairs (k even in the low
/// half, k odd in the high half) for each two k, which is what the dot-product instructions take
/// and what a shift and a mask turn into f32. Rows past N and an odd last k are zero.
struct DensePanel {
  static constexpr int64_t kLineBytes = 4 * kPanel;
  static constexpr int64_t lines(DType dtype, int64_t k) {
    return dtype == DType::bf16 ? (k + 1) / 2 : k;
  }
};

/// Geometry on a GPU: the order in which a warp's lanes hold the A operand of m16n8k16 (PTX ISA,
/// "Matrix Fragments for mma.m16n8k16"), so that a lane gets its part of a 16 x 16 tile with one
/// load, whether from global or shared memory, for mma.sync and wgmma alike.
///
///   [panels][K / 16 steps][4 tiles][32 lanes][8 values]
///
/// One step of a panel is contiguous. Lane 4g + t of a tile holds (row, k): (g, 2t), (g, 2t + 1),
/// (g + 8, 2t), (g + 8, 2t + 1), then the same with k + 8. Rows past N and k past K are zero. For
/// gate_up a tile holds 8 gate rows and under them their 8 up rows, so one lane has both factors of
/// SwiGLU.
struct FragmentGrid {
  static constexpr int64_t kTile = 16, kStep = 16, kLaneValues = 8;
  static constexpr int64_t kTileValues = 32 * kLaneValues, kStepValues = 4 * kTileValues;

  explicit FragmentGrid(const Weight& weight)
      : panels(PanelGrid(weight.N, weight.gate_up).panels), steps(steps_of(weight.K)) {}

  int64_t panels, steps;

  static constexpr int64_t steps_of(int64_t k) { return (k + kStep - 1) / kStep; }
};

}  // namespace moe

#pragma once
// What the GEMM kernels share on the device.

#include "device/rows.cuh"
#include "gemm.h"

namespace moe {

constexpr int kPanelRows = kPanel;
constexpr int kTileRows = FragmentGrid::kTile;
constexpr int kStepK = FragmentGrid::kStep;
constexpr int kTileValues = FragmentGrid::kTileValues;

/// The type stands for a format of packed.cuh.
template <class W>
constexpr bool is_packed = !is_bf16<W> && !std::is_same_v<W, float>;

struct RowRange {
  int begin, end;
};

__device__ __forceinline__ RowRange group_rows(const GemmArgs& args, int group) {
  if (!args.offsets) {
    const int each = args.rows / args.groups;
    return {group * each, (group + 1) * each};
  }
  return {args.offsets[group], args.offsets[group + 1]};
}

/// Where row `row` of x begins, and of out, in values.
__device__ __forceinline__ int64_t x_row(const GemmArgs& args, int64_t row) {
  return row * args.x_stride + (args.head_rows ? row / args.head_rows * args.x_step : 0);
}
__device__ __forceinline__ int64_t out_row(const GemmArgs& args, int64_t row) {
  return row * args.out_stride + (args.head_rows ? row / args.head_rows * args.out_step : 0);
}

/// Tiles of a weight that hold outputs; panels may end in others.
inline unsigned weight_tiles(const GemmArgs& args) {
  const int outputs = gated(args.activation) ? kTileRows / 2 : kTileRows;
  return blocks_for(args.N, outputs);
}

/// As many tiles of rows as there can be, whatever the routing.
inline unsigned most_tiles(const GemmArgs& args, int height) {
  const int partial = std::min(args.rows, args.groups);  // each group may end in one
  return static_cast<unsigned>(args.groups == 1 ? (args.rows + height - 1) / height
                                                : (args.rows - partial) / height + partial);
}

/// g of Glu's formula. Comparisons keep NaN.
__device__ __forceinline__ float clamped_gate(const Glu& glu, float gate) {
  return gate > glu.limit ? glu.limit : gate;
}

/// u + shift.
__device__ __forceinline__ float clamped_up(const Glu& glu, float up) {
  up = up > glu.limit ? glu.limit : up;
  return (up < -glu.limit ? -glu.limit : up) + glu.shift;
}

/// What goes into the sigmoid.
__device__ __forceinline__ float gate_slope(const Glu& glu, float g) {
  return glu.cubic == 0.f ? glu.alpha * g : glu.alpha * g * fmaf(glu.cubic * g, g, 1.f);
}

/// An activation that is not gated.
__device__ __forceinline__ float activated(const GemmArgs& args, float sum) {
  switch (args.activation) {
    case Activation::none:
      return sum;
    case Activation::tanh:
      return tanhf(sum);
    case Activation::relu:
      return sum < 0.f ? 0.f : sum;
    default:
      const float share = 1.f / (1.f + expf(-gate_slope(args.glu, sum)));
      return args.activation == Activation::sigmoid ? share : sum * share;
  }
}

/// A gated one.
__device__ __forceinline__ float activated(const Glu& glu, float gate, float up) {
  const float g = clamped_gate(glu, gate);
  return g / (1.f + expf(-gate_slope(glu, g))) * clamped_up(glu, up);
}

/// Factor of a row's outputs.
__device__ __forceinline__ float row_factor(const GemmArgs& args, int row) {
  return args.row_scale ? args.scale * args.row_scale[row * args.row_scale_stride] : args.scale;
}

/// A group's share of the bias, if there is any.
__device__ __forceinline__ const float* bias_of(const GemmArgs& args, int group) {
  const int rows = gated(args.activation) ? 2 * args.N : args.N;
  return args.bias ? args.bias + int64_t{group} * rows : nullptr;
}

/// Stores output `n` of a group's `row` from a weight row's sum; of gate_up weights from the gate's
/// and the up row's.
__device__ __forceinline__ void store_output(const GemmArgs& args, const float* bias, int row,
                                             int n, float sum, float up) {
  if (n >= args.N) return;
  const bool gate_up = gated(args.activation);
  if (bias) {
    sum += bias[n];
    if (gate_up) up += bias[args.N + n];
  }
  sum = row_factor(args, row) * (gate_up ? activated(args.glu, sum, up) : activated(args, sum));
  if (args.residual) sum += args.residual[row * args.residual_stride + n];
  const int64_t at = out_row(args, row) + n;
  if (args.out_bf16)
    static_cast<bf16*>(args.out)[at] = narrow(sum);
  else
    static_cast<float*>(args.out)[at] = sum;
}

}  // namespace moe

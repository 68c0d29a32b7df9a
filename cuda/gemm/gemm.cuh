#pragma once
// What the GEMM kernels share on the device.

#include "device/rows.cuh"
#include "gemm.h"

namespace moe {

constexpr int kPanelRows = kPanel;
constexpr int kTileRows = FragmentGrid::kTile;
constexpr int kStepK = FragmentGrid::kStep;
constexpr int kTileValues = FragmentGrid::kTileValues;

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
  const int outputs = args.activation == Activation::swiglu ? kTileRows / 2 : kTileRows;
  return blocks_for(args.N, outputs);
}

/// As many tiles of rows as there can be, whatever the routing.
inline unsigned most_tiles(const GemmArgs& args, int height) {
  const int partial = std::min(args.rows, args.groups);  // each group may end in one
  return static_cast<unsigned>(args.groups == 1 ? (args.rows + height - 1) / height
                                                : (args.rows - partial) / height + partial);
}

__device__ __forceinline__ float silu(float x) { return x / (1.f + expf(-x)); }

/// Output `n` but for the residual from a weight row's sum; for swiglu from the gate's and the up
/// row's.
__device__ __forceinline__ float activated(const GemmArgs& args, int n, float sum, float up) {
  const bool swiglu = args.activation == Activation::swiglu;
  if (args.bias && n < args.N) {
    sum += args.bias[n];
    if (swiglu) up += args.bias[args.N + n];
  }
  if (args.activation == Activation::silu) return silu(sum);
  if (args.activation == Activation::tanh) return tanhf(sum);
  return swiglu ? silu(sum) * up : sum;
}

/// Stores output `n` of `row`, from what activated() takes.
__device__ __forceinline__ void store_output(const GemmArgs& args, int row, int n, float sum,
                                             float up) {
  if (n >= args.N) return;
  sum = activated(args, n, sum, up);
  if (args.residual) sum += args.residual[row * args.residual_stride + n];
  const int64_t at = out_row(args, row) + n;
  if (args.out_bf16)
    static_cast<bf16*>(args.out)[at] = narrow(sum);
  else
    static_cast<float*>(args.out)[at] = sum;
}

}  // namespace moe

#pragma once

#include <memory>

#include "cpu/gemm.h"

namespace moe {

/// The rows of one GEMM in the form that a weight format's kernels take, and the product with one
/// panel. All that gemm.cc does not do alike for every format.
class GemmRows {
 public:
  static constexpr int64_t kMostRows = 96;  // of one product: sums stay in the second-level cache

  /// `tile_rows`: rows of a tile at most.
  GemmRows(const GemmCall& call, int64_t tile_rows) : call_(call), tile_rows_(tile_rows) {}
  virtual ~GemmRows() = default;

  int64_t group_rows(int64_t g) const { return call_.offsets[g + 1] - call_.offsets[g]; }
  /// Rows of group g that go into one product with a panel: whole tiles.
  int64_t chunk_rows(int64_t g) const { return kMostRows / height(g) * height(g); }

  /// Prepares rows begin to end of all groups. Called for pieces of any size, on many threads.
  virtual void prepare(int64_t begin, int64_t end) const = 0;
  /// The sums of `count` rows of group g from its row `first`, the begin of a chunk: out [count,
  /// 64].
  virtual void multiply(int64_t g, int64_t first, int64_t count, const std::byte* panel,
                        float* out) const = 0;

 protected:
  /// Rows of a tile of group g: all tiles but the last alike, so that none is much smaller.
  int64_t height(int64_t g) const {
    const int64_t n = group_rows(g), tiles = (n + tile_rows_ - 1) / tile_rows_;
    return (n + tiles - 1) / tiles;
  }

  const GemmCall& call_;

 private:
  int64_t tile_rows_;
};

/// How the CPU multiplies with weights of one format.
struct GemmFormat {
  WeightFormat format;
  size_t (*scratch_bytes)(const Tensor& x, int64_t groups);
  std::unique_ptr<GemmRows> (*rows)(const Kernels& kernels, const GemmCall& call);
};

/// Throws Error{unsupported} for a format that the CPU does not multiply with.
const GemmFormat& gemm_format(WeightFormat format);

}  // namespace moe

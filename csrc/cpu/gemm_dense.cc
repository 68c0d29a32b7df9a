// Products with weights of floats: f32, bf16, FP8, and MXFP4 with rows of f32. A few rows of a
// group are multiplied as they are, or widened; many are put in register tiles. bf16 by bf16 takes
// the dot-product instructions where there are any.

#include "cpu/gemm_dense.h"

#include <algorithm>
#include <cstring>

#include "weights/formats/dense.h"
#include "weights/formats/fp8.h"
#include "weights/formats/mxfp4.h"

namespace moe {
namespace {

constexpr int64_t kTileRows = 6;  // of Kernels::gemm_tiles and gemm_dot
constexpr int64_t kFewRows = 4;   // of Kernels::gemm_few

/// What the kernels need to know of a format.
struct Panel {
  Stored stored;
  int64_t unit;  // of k, which is padded to it

  int64_t padded(int64_t k) const { return (k + unit - 1) / unit * unit; }
  int64_t lines(int64_t k) const {
    constexpr int64_t kValues[] = {1, 2, 4, 4, 8};  // of Stored
    return padded(k) / kValues[static_cast<int>(stored)];
  }
};

Panel panel_of(WeightFormat format) {
  if (format == WeightFormat::fp8) return {Stored::fp8, Fp8Layout::kGroup};
  if (format == WeightFormat::fp8_g128) return {Stored::fp8_g128, Fp8Layout::kGroup};
  if (format == WeightFormat::mxfp4) return {Stored::mxfp4, Mxfp4Layout::kGroup};
  return dense_dtype(format) == DType::bf16 ? Panel{Stored::bf16, 2} : Panel{Stored::f32, 1};
}

/// What a row is turned into for the kernels.
enum class RowForm {
  as_is,      // f32 rows, or bf16 rows for the dot products
  widened,    // f32 copies, of whole lines
  dot_pairs,  // bf16 copies, a whole number of pairs
};

class DenseRows final : public GemmRows {
 public:
  DenseRows(const Kernels& kernels, const GemmCall& call)
      : GemmRows(call, kTileRows), kernels_(kernels) {
    const Tensor& x = call.x;
    const Panel panel = panel_of(call.weights[0].format);
    const bool bf16_rows = x.dtype == DType::bf16;
    stored_ = panel.stored;
    dot_ = stored_ == Stored::bf16 && bf16_rows && kernels.gemm_dot;
    k_ = panel.padded(x.last());
    lines_ = panel.lines(x.last());
    const bool decoded = stored_ != Stored::f32 && stored_ != Stored::bf16;
    tiled_rows_ = decoded ? kernels.tiled_rows_fp8 : kernels.tiled_rows;
    if (dot_ && k_ != x.last()) form_ = RowForm::dot_pairs;
    if (!dot_ && (bf16_rows || k_ != x.last())) form_ = RowForm::widened;
    const size_t element = form_ == RowForm::widened ? sizeof(float) : dtype_bytes(x.dtype);
    auto* scratch = call.scratch.as<std::byte>();
    stride_ = static_cast<size_t>(form_ == RowForm::as_is ? x.row_stride : k_) * element;
    rows_ = scratch;
    tiles_ = reinterpret_cast<float*>(scratch + static_cast<size_t>(x.rows() * k_) * sizeof(float));
  }

  void prepare(int64_t begin, int64_t end) const override {
    int64_t g = 0;
    for (int64_t r = begin; r < end; ++r) {
      while (r >= call_.offsets[g + 1]) ++g;
      const int64_t i = r - call_.offsets[g];
      std::byte* to = rows_ + static_cast<size_t>(r) * stride_;
      if (tiled(g)) {
        if (i % height(g) == 0) fill_tile(g, i);
      } else if (form_ == RowForm::widened) {
        widen_row(r, 0, k_, reinterpret_cast<float*>(to));
      } else if (form_ == RowForm::dot_pairs) {
        const size_t bytes = static_cast<size_t>(call_.x.last()) * sizeof(bf16);
        std::memcpy(to, call_.x_row<bf16>(r), bytes);
        std::memset(to + bytes, 0, stride_ - bytes);
      }
    }
  }

  void multiply(int64_t g, int64_t first, int64_t count, const std::byte* panel,
                float* out) const override {
    if (tiled(g))
      return kernels_.gemm_tiles(tile_start(g) + first * k_, count, height(g), panel, lines_,
                                 stored_, out);
    const int64_t r = call_.offsets[g] + first;
    const std::byte* row =
        form_ == RowForm::as_is ? as_it_is(r) : rows_ + static_cast<size_t>(r) * stride_;
    if (dot_)
      by_pieces<uint16_t, kTileRows>(row, count, out, [&](auto x, int m, float* sums) {
        kernels_.gemm_dot(x, m, panel, lines_, sums);
      });
    else
      by_pieces<float, kFewRows>(row, count, out, [&](auto x, int m, float* sums) {
        kernels_.gemm_few(x, m, panel, lines_, stored_, sums);
      });
  }

  template <WeightFormat F>
  static size_t scratch_bytes(const Tensor& x, int64_t groups) {
    const int64_t copies = x.rows(), tiles = x.rows() + groups * (kTileRows - 1) + kTileRows;
    return static_cast<size_t>((copies + tiles) * panel_of(F).padded(x.last())) * sizeof(float);
  }

 private:
  static constexpr int64_t kPiece = 256;

  const std::byte* as_it_is(int64_t r) const {
    return call_.x.dtype == DType::f32 ? reinterpret_cast<const std::byte*>(call_.x_row<float>(r))
                                       : reinterpret_cast<const std::byte*>(call_.x_row<bf16>(r));
  }

  bool tiled(int64_t g) const { return !dot_ && group_rows(g) >= tiled_rows_; }
  /// Every group before g may leave up to five rows of its last tile empty.
  float* tile_start(int64_t g) const {
    return tiles_ + (call_.offsets[g] + g * (kTileRows - 1)) * k_;
  }

  /// Values begin .. begin + n of row r, widened; zeros behind the row's end.
  void widen_row(int64_t r, int64_t begin, int64_t n, float* to) const {
    const Tensor& x = call_.x;
    const int64_t real = std::min(n, x.last() - begin);
    if (x.dtype == DType::bf16)
      kernels_.widen(&call_.x_row<bf16>(r)->bits + begin, real, to);
    else
      std::memcpy(to, call_.x_row<float>(r) + begin, static_cast<size_t>(real) * sizeof(float));
    std::fill(to + real, to + n, 0.f);
  }

  /// Puts the tile of group g that starts at its row `first` in [k][height] order.
  void fill_tile(int64_t g, int64_t first) const {
    const int64_t tile_height = height(g), m = std::min(tile_height, group_rows(g) - first);
    float* tile = tile_start(g) + first * k_;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t begin = 0; begin < k_; begin += kPiece) {
        const int64_t n = std::min(kPiece, k_ - begin);
        float piece[kPiece];
        widen_row(call_.offsets[g] + first + i, begin, n, piece);
        for (int64_t j = 0; j < n; ++j) tile[(begin + j) * tile_height + i] = piece[j];
      }
  }

  /// Calls `kernel(x, m, sums)` for pieces of at most kRows of `count` rows.
  template <class Value, int64_t kRows, class Kernel>
  void by_pieces(const std::byte* row, int64_t count, float* out, const Kernel& kernel) const {
    for (int64_t i = 0; i < count; i += kRows) {
      const int m = static_cast<int>(std::min(kRows, count - i));
      const Value* x[kRows];
      for (int j = 0; j < m; ++j)
        x[j] = reinterpret_cast<const Value*>(row + static_cast<size_t>(i + j) * stride_);
      kernel(x, m, out + i * kPanel);
    }
  }

  const Kernels& kernels_;
  Stored stored_;                  // weights
  bool dot_;                       // bf16 dot products
  int64_t k_;                      // values of one row as the kernels see it
  int64_t lines_;                  // of one panel
  int64_t tiled_rows_;             // of a group, from which on it is put in tiles
  RowForm form_ = RowForm::as_is;  // of rows that are not in tiles
  size_t stride_;                  // bytes between such rows
  std::byte* rows_;                // copies
  float* tiles_;                   // group g starts at tile_start(g)
};

template <WeightFormat F>
constexpr GemmFormat dense() {
  return {F, DenseRows::scratch_bytes<F>,
          [](const Kernels& kernels, const GemmCall& call) -> std::unique_ptr<GemmRows> {
            return std::make_unique<DenseRows>(kernels, call);
          }};
}

}  // namespace

constexpr GemmFormat kGemmF32 = dense<WeightFormat::f32>(), kGemmBf16 = dense<WeightFormat::bf16>(),
                     kGemmFp8 = dense<WeightFormat::fp8>(),
                     kGemmFp8G128 = dense<WeightFormat::fp8_g128>(),
                     kGemmMxfp4Floats = dense<WeightFormat::mxfp4>();

}  // namespace moe

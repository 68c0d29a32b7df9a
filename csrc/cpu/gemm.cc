// Packed-panel GEMM over groups of rows. Few rows are bound by reading the weights: items are
// panels, contiguous for each thread, and every group's weights are read once for all its rows.
// Many rows are bound by the multiply-adds: they go through a panel in register tiles.

#include "cpu/gemm.h"

#include <cmath>
#include <cstring>

#include "weights/pack.h"

namespace moe {
namespace {

constexpr int64_t kTileRows = 6;       // of Kernels::gemm_tiles and gemm_dot
constexpr int64_t kFewRows = 4;        // of Kernels::gemm_few
constexpr int64_t kMinTiledRows = 13;  // widening a panel pays from here on
constexpr int64_t kChunkRows =
    96;  // rows of one kernel call; their sums stay in the second-level cache

int64_t padded(int64_t k) { return k + k % 2; }

/// What a row is turned into for the kernels.
enum class RowForm {
  as_is,      // f32 rows, or bf16 rows for the dot products
  widened,    // f32 copies, a whole number of pairs
  dot_pairs,  // bf16 copies, a whole number of pairs
};

struct Job {
  const GemmArgs& args;
  const Kernels& kernels;
  PanelGrid grid;
  bool dot;       // bf16 dot products
  bool half;      // bf16 weights
  int64_t k;      // values of one row as the kernels see it
  RowForm form;   // of rows that are not in tiles
  size_t stride;  // bytes between such rows
  std::byte* rows;
  float* tiles;  // group g starts at tile_start(g)

  bool tiled(int64_t g) const { return !dot && group_rows(g) >= kMinTiledRows; }
  int64_t group_rows(int64_t g) const { return args.offsets[g + 1] - args.offsets[g]; }
  /// Rows of a tile of group g: all tiles but the last alike, so that none is much smaller than
  /// six.
  int64_t height(int64_t g) const {
    const int64_t n = group_rows(g), tiles_needed = (n + kTileRows - 1) / kTileRows;
    return (n + tiles_needed - 1) / tiles_needed;
  }
  /// Whole tiles of one kernel call.
  int64_t chunk_rows(int64_t g) const { return kChunkRows / height(g) * height(g); }
  /// Every group before g may leave up to five rows of its last tile empty.
  float* tile_start(int64_t g) const { return tiles + (args.offsets[g] + g * (kTileRows - 1)) * k; }
};

Job make_job(const CpuContext& cpu, const GemmArgs& args) {
  const Tensor &x = args.x, &weight = args.weights[0];
  const bool half = weight.dtype == DType::bf16, narrow = x.dtype == DType::bf16;
  const bool dot = half && narrow && cpu.kernels.gemm_dot;
  const int64_t K = x.last(), k = half ? padded(K) : K;
  RowForm form = RowForm::as_is;
  if (dot && k != K) form = RowForm::dot_pairs;
  if (!dot && (narrow || k != K)) form = RowForm::widened;
  const size_t element = form == RowForm::widened ? sizeof(float) : dtype_bytes(x.dtype);
  const bool copied = form != RowForm::as_is;
  auto* scratch = args.scratch.as<std::byte>();
  return {.args = args,
          .kernels = cpu.kernels,
          .grid = PanelGrid(weight.dim(0), weight.dim(1), weight.dtype, weight.layout),
          .dot = dot,
          .half = half,
          .k = k,
          .form = form,
          .stride = static_cast<size_t>(copied ? k : x.row_stride) * element,
          .rows = copied ? scratch : x.as<std::byte>(),
          .tiles = reinterpret_cast<float*>(scratch +
                                            static_cast<size_t>(x.rows()) * k * sizeof(float))};
}

constexpr int64_t kPiece = 256;

/// Values begin .. begin + n of row r, widened; zeros behind the row's end.
void widen_row(const Job& job, int64_t r, int64_t begin, int64_t n, float* to) {
  const Tensor& x = job.args.x;
  const int64_t real = std::min(n, x.last() - begin);
  if (x.dtype == DType::bf16)
    job.kernels.widen(&x.row<bf16>(r)->bits + begin, real, to);
  else
    std::memcpy(to, x.row<float>(r) + begin, static_cast<size_t>(real) * sizeof(float));
  std::fill(to + real, to + n, 0.f);
}

/// Puts the tile of group g that starts at its row `first` in [k][height] order.
void fill_tile(const Job& job, int64_t g, int64_t first) {
  const int64_t height = job.height(g), k = job.k;
  const int64_t m = std::min(height, job.group_rows(g) - first);
  float* tile = job.tile_start(g) + first * k;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t begin = 0; begin < k; begin += kPiece) {
      const int64_t n = std::min(kPiece, k - begin);
      float piece[kPiece];
      widen_row(job, job.args.offsets[g] + first + i, begin, n, piece);
      for (int64_t j = 0; j < n; ++j) tile[(begin + j) * height + i] = piece[j];
    }
}

void prepare_rows(const CpuContext& cpu, const Job& job) {
  const GemmArgs& args = job.args;
  cpu.parallel(args.offsets[args.groups], 8 * kTileRows, [&](int64_t begin, int64_t end) {
    int64_t g = 0;
    for (int64_t r = begin; r < end; ++r) {
      while (r >= args.offsets[g + 1]) ++g;
      const int64_t i = r - args.offsets[g];
      std::byte* to = job.rows + static_cast<size_t>(r) * job.stride;
      if (job.tiled(g)) {
        if (i % job.height(g) == 0) fill_tile(job, g, i);
      } else if (job.form == RowForm::widened) {
        widen_row(job, r, 0, job.k, reinterpret_cast<float*>(to));
      } else if (job.form == RowForm::dot_pairs) {
        const size_t bytes = static_cast<size_t>(args.x.last()) * sizeof(bf16);
        std::memcpy(to, args.x.row<bf16>(r), bytes);
        std::memset(to + bytes, 0, job.stride - bytes);
      }
    }
  });
}

/// Calls `kernel(x, m, sums)` for pieces of at most kRows of `count` rows.
template <class Value, int64_t kRows, class Kernel>
void by_pieces(const Job& job, const std::byte* row, int64_t count, float* out,
               const Kernel& kernel) {
  for (int64_t i = 0; i < count; i += kRows) {
    const int m = static_cast<int>(std::min(kRows, count - i));
    const Value* x[kRows];
    for (int j = 0; j < m; ++j)
      x[j] = reinterpret_cast<const Value*>(row + static_cast<size_t>(i + j) * job.stride);
    kernel(x, m, out + i * kPanel);
  }
}

/// The sums of `count` rows of group g from its row `first` on: out [count, 64].
void multiply(const Job& job, int64_t g, int64_t first, int64_t count, const std::byte* panel,
              float* out) {
  const Kernels& kernels = job.kernels;
  const int64_t lines = job.grid.lines;
  if (job.tiled(g))
    return kernels.gemm_tiles(job.tile_start(g) + first * job.k, count, job.height(g), panel, lines,
                              job.half, out);
  const std::byte* row = job.rows + static_cast<size_t>(job.args.offsets[g] + first) * job.stride;
  if (job.dot)
    by_pieces<uint16_t, kTileRows>(job, row, count, out, [&](auto x, int m, float* sums) {
      kernels.gemm_dot(x, m, panel, lines, sums);
    });
  else
    by_pieces<float, kFewRows>(job, row, count, out, [&](auto x, int m, float* sums) {
      kernels.gemm_few(x, m, panel, lines, job.half, sums);
    });
}

/// One row of sums: bias, activation, residual, store. `sums` holds 64 columns and is changed.
void finish_row(const Job& job, float* sums, int64_t row, int64_t column, int64_t n) {
  const GemmArgs& args = job.args;
  const Kernels& kernels = job.kernels;
  const bool swiglu = args.activation == Activation::swiglu;
  float* up = sums + kPanel / 2;
  if (args.bias) {
    kernels.add_scaled(args.bias + column, 1.f, n, sums);
    if (swiglu) kernels.add_scaled(args.bias + job.grid.columns + column, 1.f, n, up);
  }
  if (swiglu) kernels.silu_mul(sums, up, n, sums);
  if (args.activation == Activation::silu) kernels.silu_mul(sums, nullptr, n, sums);
  if (args.activation == Activation::tanh)
    for (int64_t i = 0; i < n; ++i) sums[i] = std::tanh(sums[i]);
  if (args.residual) kernels.add_scaled(args.residual->row<float>(row) + column, 1.f, n, sums);
  if (args.out.dtype == DType::f32)
    std::memcpy(args.out.row<float>(row) + column, sums, static_cast<size_t>(n) * sizeof(float));
  else
    kernels.narrow(sums, n, &(args.out.row<bf16>(row) + column)->bits);
}

void run_panel(const Job& job, int64_t g, int64_t first, int64_t last, int64_t panel) {
  const int64_t column = panel * job.grid.per_panel;
  const int64_t n = std::min(job.grid.per_panel, job.grid.columns - column);
  const std::byte* data =
      job.args.weights[g].as<std::byte>() + static_cast<size_t>(panel) * job.grid.panel_bytes();
  alignas(64) float sums[kChunkRows * kPanel];
  const int64_t chunk = job.chunk_rows(g);
  for (int64_t row = first; row < last; row += chunk) {
    const int64_t count = std::min(chunk, last - row);
    multiply(job, g, row, count, data, sums);
    for (int64_t i = 0; i < count; ++i)
      finish_row(job, sums + i * kPanel, job.args.offsets[g] + row + i, column, n);
  }
}

}  // namespace

void gemm_cpu(const CpuContext& cpu, const GemmArgs& args) {
  const int64_t rows = args.offsets[args.groups];
  if (rows == 0) return;
  const Job job = make_job(cpu, args);
  prepare_rows(cpu, job);

  // Enough panels: an item takes all rows of its group. Too few: rows are split as well.
  const int64_t panels = job.grid.panels;
  const bool split_rows = panels < 4 * cpu.threads;
  const auto piece_rows = [&](int64_t g) {
    return split_rows ? job.chunk_rows(g) : job.group_rows(g);
  };
  const auto pieces = [&](int64_t g) {
    return job.group_rows(g) == 0 ? 0 : (job.group_rows(g) + piece_rows(g) - 1) / piece_rows(g);
  };
  int64_t items = 0;
  for (int64_t g = 0; g < args.groups; ++g) items += pieces(g) * panels;
  const int64_t chunk = rows < 64 ? std::max<int64_t>(1, items / (8 * cpu.threads)) : 1;

  cpu.parallel(items, chunk, [&](int64_t begin, int64_t end) {
    int64_t g = 0, base = 0;  // first item of group g
    for (int64_t item = begin; item < end; ++item) {
      while (item >= base + pieces(g) * panels) base += pieces(g++) * panels;
      const int64_t first = (item - base) % pieces(g) * piece_rows(g);
      const int64_t last = std::min(first + piece_rows(g), job.group_rows(g));
      run_panel(job, g, first, last, (item - base) / pieces(g));
    }
  });
}

void check_gemm(const Check& check, const char* name, const Tensor& x, const Tensor& weight,
                Activation activation, DType out) {
  check.packed(name, weight, activation == Activation::swiglu ? Layout::gate_up : Layout::panels);
  check.shape("x", x, {x.dim(0), weight.dim(1)});
  check.activation("dtype", out);
}

int64_t outputs_of(const Tensor& weight, Activation activation) {
  return activation == Activation::swiglu ? weight.dim(0) / 2 : weight.dim(0);
}

size_t gemm_scratch_bytes(const Tensor& x, int64_t groups) {
  const int64_t row_copies = x.rows(), tile_rows = x.rows() + groups * (kTileRows - 1) + kTileRows;
  return static_cast<size_t>(row_copies + tile_rows) * static_cast<size_t>(padded(x.last())) *
         sizeof(float);
}

}  // namespace moe

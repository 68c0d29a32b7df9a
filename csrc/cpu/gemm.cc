// Packed-panel GEMM. Small T is bound by reading the weights: items are panels, contiguous for each
// thread, and every expert's weights are read once for all its tokens. Large T is bound by the
// multiply-adds: a panel stays in the second-level cache while the rows pass by.

#include "cpu/gemm.h"

#include <cmath>

#include "weights/pack.h"

namespace moe {
namespace {

int64_t padded(int64_t k) { return k + k % 2; }

/// Rows as the kernels take them: f32 or bf16, a whole number of pairs.
struct Rows {
  const std::byte* data;
  size_t stride;  // bytes
  const std::byte* at(int64_t r) const { return data + static_cast<size_t>(r) * stride; }
};

bool needs_copy(const Tensor& x, DType weight, bool dot) {
  const bool odd = weight == DType::bf16 && x.last() % 2 != 0;
  return odd || (x.dtype == DType::bf16 && !dot);
}

Rows prepare_rows(const CpuContext& cpu, const GemmArgs& args, bool dot) {
  const Tensor& x = args.x;
  const size_t element = dtype_bytes(x.dtype);
  if (!needs_copy(x, args.weights[0].dtype, dot))
    return {x.as<std::byte>(), static_cast<size_t>(x.row_stride) * element};
  const int64_t K = x.last(), rows = args.offsets[args.groups];
  const size_t stride = static_cast<size_t>(padded(K)) * (dot ? sizeof(bf16) : sizeof(float));
  auto* copy = args.scratch.as<std::byte>();
  cpu.parallel(rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::byte* to = copy + static_cast<size_t>(r) * stride;
      std::memset(to + (dot ? 2 : 4) * (padded(K) - 1), 0, dot ? 2 : 4);
      if (x.dtype == DType::bf16 && !dot)
        cpu.kernels.widen(&x.row<bf16>(r)->bits, K, reinterpret_cast<float*>(to));
      else
        std::memcpy(to, x.row<std::byte>(r * static_cast<int64_t>(element)),
                    static_cast<size_t>(K) * element);
    }
  });
  return {copy, stride};
}

template <class Out>
void store_row(const Kernels& kernels, const float* from, int64_t n, Out* to) {
  if constexpr (sizeof(Out) == sizeof(float))
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
  else
    kernels.narrow(from, n, &to->bits);
}

/// One row of a finished tile: bias, activation, residual, store. `sums` holds 64 columns.
template <class Out>
void finish_row(const Kernels& kernels, const GemmArgs& args, float* sums, int64_t row,
                int64_t column, int64_t n) {
  if (args.activation == Activation::swiglu) {
    kernels.silu_mul(sums, sums + kPanel / 2, n, sums);
  } else {
    if (args.bias) kernels.add_scaled(args.bias + column, 1.f, n, sums);
    if (args.activation == Activation::silu) kernels.silu_mul(sums, nullptr, n, sums);
    if (args.activation == Activation::tanh)
      for (int64_t i = 0; i < n; ++i) sums[i] = std::tanh(sums[i]);
  }
  if (args.residual) kernels.add_scaled(args.residual->row<float>(row) + column, 1.f, n, sums);
  store_row(kernels, sums, n, args.out.row<Out>(row) + column);
}

template <class Out>
void run_panel(const Kernels& kernels, const GemmArgs& args, const PanelGrid& grid,
               const Rows& rows, bool dot, const std::byte* panel, int64_t column, int64_t first,
               int64_t last) {
  constexpr int kMaxRows = 8;
  const int64_t n = std::min(grid.per_panel, grid.columns - column);
  const bool half = args.weights[0].dtype == DType::bf16;
  alignas(64) float sums[kMaxRows * kPanel];
  for (int64_t row = first; row < last;) {
    const int m = static_cast<int>(std::min<int64_t>(kernels.max_rows, last - row));
    if (dot) {
      const uint16_t* x[kMaxRows];
      for (int i = 0; i < m; ++i) x[i] = reinterpret_cast<const uint16_t*>(rows.at(row + i));
      kernels.gemm_bf16_dot(x, m, panel, grid.lines, sums);
    } else {
      const float* x[kMaxRows];
      for (int i = 0; i < m; ++i) x[i] = reinterpret_cast<const float*>(rows.at(row + i));
      (half ? kernels.gemm_bf16 : kernels.gemm_f32)(x, m, panel, grid.lines, sums);
    }
    for (int i = 0; i < m; ++i)
      finish_row<Out>(kernels, args, sums + i * kPanel, row + i, column, n);
    row += m;
  }
}

}  // namespace

void gemm_cpu(const CpuContext& cpu, const GemmArgs& args) {
  const int64_t rows_total = args.offsets[args.groups];
  if (rows_total == 0) return;
  const Tensor& weight = args.weights[0];
  const PanelGrid grid(weight.dim(0), weight.dim(1), weight.dtype, weight.layout);
  const bool dot =
      args.x.dtype == DType::bf16 && weight.dtype == DType::bf16 && cpu.kernels.gemm_bf16_dot;
  const Rows rows = prepare_rows(cpu, args, dot);

  // Enough panels: a panel's item takes all rows of its group. Too few: rows are split as well.
  const int64_t split = grid.panels >= 4 * cpu.threads ? INT32_MAX : 96;
  const auto pieces = [&](int64_t g) {
    const int64_t n = args.offsets[g + 1] - args.offsets[g];
    return (n + split - 1) / split;
  };
  int64_t items = 0;
  for (int64_t g = 0; g < args.groups; ++g) items += pieces(g) * grid.panels;
  const int64_t chunk = rows_total < 64 ? std::max<int64_t>(1, items / (8 * cpu.threads)) : 1;

  cpu.parallel(items, chunk, [&](int64_t begin, int64_t end) {
    int64_t g = 0, base = 0;  // first item of group g
    for (int64_t item = begin; item < end; ++item) {
      while (item >= base + pieces(g) * grid.panels) base += pieces(g++) * grid.panels;
      const int64_t panel = (item - base) / pieces(g), piece = (item - base) % pieces(g);
      const int64_t first = args.offsets[g] + piece * split;
      const int64_t last = std::min<int64_t>(first + split, args.offsets[g + 1]);
      const std::byte* data =
          args.weights[g].as<std::byte>() + static_cast<size_t>(panel) * grid.panel_bytes();
      const int64_t column = panel * grid.per_panel;
      if (args.out.dtype == DType::f32)
        run_panel<float>(cpu.kernels, args, grid, rows, dot, data, column, first, last);
      else
        run_panel<bf16>(cpu.kernels, args, grid, rows, dot, data, column, first, last);
    }
  });
}

void check_gemm(const Check& check, const Tensor& x, const Tensor& weight, Activation activation,
                const Tensor& out) {
  const bool swiglu = activation == Activation::swiglu;
  check.packed("weight", weight, swiglu ? Layout::gate_up : Layout::panels);
  if (weight.dim(1) != x.dim(1))
    fail(Code::shape, "gemm: x must be [", x.dim(0), ", ", weight.dim(1), "], got ",
         x.shape.text());
  check.activation("out", out);
  check.shape("out", out, {x.dim(0), swiglu ? weight.dim(0) / 2 : weight.dim(0)});
}

size_t gemm_scratch_bytes(const Tensor& x, const Tensor& weight) {
  if (!needs_copy(x, weight.dtype, false)) return 0;
  return static_cast<size_t>(x.rows()) * static_cast<size_t>(padded(x.last())) * sizeof(float);
}

}  // namespace moe

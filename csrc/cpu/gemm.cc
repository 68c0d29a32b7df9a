// Packed-panel GEMM over groups of rows. Few rows are bound by reading the weights: items are
// panels, contiguous for each thread, and every group's weights are read once for all its rows.
// Many rows are bound by the multiply-adds: they go through a panel in register tiles.

#include "cpu/gemm.h"

#include <cmath>
#include <cstring>

#include "cpu/gemm_rows.h"
#include "weights/format.h"

namespace moe {
namespace {

struct Job {
  const GemmCall& args;
  const Kernels& kernels;
  const GemmRows& rows;
  PanelGrid grid;
  size_t panel_bytes;
};

/// One row of sums: bias, activation, residual, store. `sums` holds 64 columns and is changed.
void finish_row(const Job& job, float* sums, int64_t row, int64_t column, int64_t n) {
  const GemmCall& args = job.args;
  const Kernels& kernels = job.kernels;
  const bool swiglu = args.activation == Activation::swiglu;
  float* up = sums + kPanel / 2;
  if (args.bias) {
    kernels.add_scaled(args.bias + column, 1.f, n, sums);
    if (swiglu) kernels.add_scaled(args.bias + job.grid.outputs + column, 1.f, n, up);
  }
  if (swiglu) kernels.silu_mul(sums, up, n, sums);
  if (args.activation == Activation::silu) kernels.silu_mul(sums, nullptr, n, sums);
  if (args.activation == Activation::tanh)
    for (int64_t i = 0; i < n; ++i) sums[i] = std::tanh(sums[i]);
  if (args.residual) kernels.add_scaled(args.residual->row<float>(row) + column, 1.f, n, sums);
  if (args.out.dtype == DType::f32)
    std::memcpy(args.out_row<float>(row) + column, sums, static_cast<size_t>(n) * sizeof(float));
  else
    kernels.narrow(sums, n, &(args.out_row<bf16>(row) + column)->bits);
}

void run_panel(const Job& job, int64_t g, int64_t first, int64_t last, int64_t panel) {
  const int64_t column = panel * job.grid.per_panel;
  const int64_t n = std::min(job.grid.per_panel, job.grid.outputs - column);
  const std::byte* data = job.args.weights[g].data() + static_cast<size_t>(panel) * job.panel_bytes;
  alignas(64) float sums[GemmRows::kMostRows * kPanel];
  const int64_t chunk = job.rows.chunk_rows(g);
  for (int64_t row = first; row < last; row += chunk) {
    const int64_t count = std::min(chunk, last - row);
    job.rows.multiply(g, row, count, data, sums);
    for (int64_t i = 0; i < count; ++i)
      finish_row(job, sums + i * kPanel, job.args.offsets[g] + row + i, column, n);
  }
}

}  // namespace

void gemm_cpu(const CpuContext& cpu, const GemmCall& args) {
  const int64_t rows = args.offsets[args.groups];
  if (rows == 0) return;
  const Weight& weight = args.weights[0];
  const auto prepared = gemm_format(weight.format).rows(cpu.kernels, args);
  const Job job{args, cpu.kernels, *prepared, PanelGrid(weight.N, weight.gate_up),
                packing_of(weight, nullptr).panel_bytes(weight.K)};
  cpu.parallel(rows, 48, [&](int64_t begin, int64_t end) { prepared->prepare(begin, end); });

  // Enough panels: an item takes all rows of its group. Too few: rows are split as well.
  const int64_t panels = job.grid.panels;
  const bool split_rows = panels < 4 * cpu.threads;
  const auto piece_rows = [&](int64_t g) {
    return split_rows ? job.rows.chunk_rows(g) : job.rows.group_rows(g);
  };
  const auto pieces = [&](int64_t g) {
    return job.rows.group_rows(g) == 0
               ? 0
               : (job.rows.group_rows(g) + piece_rows(g) - 1) / piece_rows(g);
  };
  int64_t items = 0;
  for (int64_t g = 0; g < args.groups; ++g) items += pieces(g) * panels;
  const int64_t chunk = rows < 64 ? std::max<int64_t>(1, items / (8 * cpu.threads)) : 1;

  cpu.parallel(items, chunk, [&](int64_t begin, int64_t end) {
    int64_t g = 0, base = 0;  // first item of group g
    for (int64_t item = begin; item < end; ++item) {
      while (item >= base + pieces(g) * panels) base += pieces(g++) * panels;
      const int64_t first = (item - base) % pieces(g) * piece_rows(g);
      const int64_t last = std::min(first + piece_rows(g), job.rows.group_rows(g));
      run_panel(job, g, first, last, (item - base) / pieces(g));
    }
  });
}

size_t gemm_scratch_bytes(const Tensor& x, WeightFormat format, int64_t groups) {
  return gemm_format(format).scratch_bytes(x, groups);
}

}  // namespace moe

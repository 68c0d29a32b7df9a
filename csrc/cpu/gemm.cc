// Packed-panel GEMM over groups of rows. Few rows are bound by reading the weights: items are
// panels, contiguous for each thread, and every group's weights are read once for all its rows.
// Many rows are bound by the multiply-adds: they go through a panel in register tiles.

#include "cpu/gemm.h"

#include <cstring>

#include "cpu/gemm_rows.h"
#include "weights/format.h"

namespace moe {
namespace {

struct Job {
  const GemmCall& args;
  const Kernels& kernels;
  const GemmRows& rows;
  Glu glu;
  PanelGrid grid;
  size_t panel_bytes;
};

/// What every row of the call's outputs goes through.
void activate(const Job& job, float* sums, const float* up, int64_t n) {
  switch (job.args.epilogue.activation) {
    case Activation::none:
      return;
    case Activation::sigmoid:
      return job.kernels.sigmoid(sums, n);
    case Activation::tanh:
      return job.kernels.tanh(sums, n);
    case Activation::relu:
      return job.kernels.relu(sums, n);
    default:
      return job.kernels.glu(sums, up, n, &job.glu);
  }
}

/// One row of sums of group g: bias, activation, factors, residual, store. `sums` holds 64 columns
/// and is changed.
void finish_row(const Job& job, int64_t g, float* sums, int64_t row, int64_t column, int64_t n) {
  const Epilogue& epilogue = job.args.epilogue;
  const Kernels& kernels = job.kernels;
  float* up = gated(epilogue.activation) ? sums + kPanel / 2 : nullptr;
  if (epilogue.bias) {
    const float* bias = epilogue.bias.as<float>() + g * job.args.weights[g].N + column;
    kernels.add_scaled(bias, 1.f, n, sums);
    if (up) kernels.add_scaled(bias + job.grid.outputs, 1.f, n, up);
  }
  activate(job, sums, up, n);
  const float factor =
      epilogue.scale * (epilogue.row_scale ? *epilogue.row_scale.row<float>(row) : 1.f);
  if (factor != 1.f)
    for (int64_t i = 0; i < n; ++i) sums[i] *= factor;
  if (epilogue.residual)
    kernels.add_scaled(epilogue.residual.row<float>(row) + column, 1.f, n, sums);
  if (job.args.out.dtype == DType::f32)
    std::memcpy(job.args.out_row<float>(row) + column, sums,
                static_cast<size_t>(n) * sizeof(float));
  else
    kernels.narrow(sums, n, &(job.args.out_row<bf16>(row) + column)->bits);
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
      finish_row(job, g, sums + i * kPanel, job.args.offsets[g] + row + i, column, n);
  }
}

}  // namespace

void gemm_cpu(const CpuContext& cpu, const GemmCall& args) {
  const int64_t rows = args.offsets[args.groups];
  if (rows == 0) return;
  const Weight& weight = args.weights[0];
  const auto prepared = gemm_format(weight.format).rows(cpu.kernels, args);
  const Job job{args,
                cpu.kernels,
                *prepared,
                args.epilogue.glu(),
                PanelGrid(weight.N, weight.gate_up),
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

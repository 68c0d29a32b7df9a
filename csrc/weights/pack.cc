#include "weights/pack.h"

#include <cstring>

#include "core/check.h"
#include "core/device.h"
#include "weights/integer_matrix.h"

namespace moe {
namespace {

/// The transpose of a run [K, N]: its columns as rows [N, K].
std::vector<std::byte> turn(const CpuContext& cpu, const RowRun& run) {
  const int64_t N = run.width(), K = run.count;
  const size_t step = run.encoded ? sizeof(float) : dtype_bytes(run.source.dtype);
  std::vector<std::byte> out(static_cast<size_t>(N * K) * step);
  if (run.encoded) {
    std::vector<float> row(static_cast<size_t>(N));
    for (int64_t k = 0; k < K; ++k) {
      run.source_row(k).read(0, N, row.data());
      for (int64_t n = 0; n < N; ++n)
        std::memcpy(&out[static_cast<size_t>(n * K + k) * step], &row[static_cast<size_t>(n)],
                    step);
    }
    return out;
  }
  cpu.parallel(N, 32, [&](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < K; ++k)
      for (int64_t n = begin; n < end; ++n)
        std::memcpy(&out[static_cast<size_t>(n * K + k) * step],
                    run.row(k) + static_cast<size_t>(n) * step, step);
  });
  return out;
}

/// The rows of a run with zeros behind each, K values wide.
std::vector<std::byte> widen(const RowRun& run, int64_t K) {
  const size_t step = run.encoded ? sizeof(float) : dtype_bytes(run.source.dtype);
  const size_t wide = static_cast<size_t>(K) * step;
  std::vector<std::byte> out(static_cast<size_t>(run.count) * wide);
  for (int64_t i = 0; i < run.count; ++i) {
    std::byte* to = out.data() + static_cast<size_t>(i) * wide;
    if (run.encoded)
      run.source_row(i).read(0, run.width(), reinterpret_cast<float*>(to));
    else
      std::memcpy(to, run.row(i), static_cast<size_t>(run.width()) * step);
  }
  return out;
}

void check_zero_points(const RowRun& run, const Weight& out) {
  const auto* m = dynamic_cast<const IntegerMatrix*>(run.encoded.get());
  const bool middle = out.format == WeightFormat::int4_g32 || out.format == WeightFormat::int4_g128;
  if (m && middle && m->bits == 4 && !m->symmetric)
    fail(Code::checkpoint, m->name,
         ": zero points must all be 8 of a file that says it is symmetric, got others");
}

/// `copies`: where runs are kept that are no rows of their source.
std::vector<SourceRow> rows_of(const CpuContext& cpu, const std::vector<RowRun>& runs,
                               const Weight& out, std::vector<std::vector<std::byte>>& copies) {
  const Check check("pack");
  std::vector<SourceRow> rows;
  const auto add_copy = [&](std::vector<std::byte> copy, DType dtype) {
    const auto bytes = static_cast<size_t>(out.K) * dtype_bytes(dtype);
    for (size_t at = 0; at < copy.size(); at += bytes)
      rows.push_back({.data = copy.data() + at, .dtype = dtype});
    copies.push_back(std::move(copy));
  };
  for (const RowRun& run : runs) {
    if (run.encoded) {
      check.that(run.encoded->K >= 1, "source", "at least one column wide", run.encoded->K);
      run.encoded->prepare();
    }
    check_zero_points(run, out);
    run.check(check);
    if (run.turned) {
      const Shape shape{run.width(), run.count};
      if (runs.size() != 1 || !(shape == out.shape()))
        fail(Code::shape, "pack: a turned run must be ", out.shape().text(), " and alone, got ",
             shape.text());
      add_copy(turn(cpu, run), run.encoded ? DType::f32 : run.source.dtype);
      continue;
    }
    if (run.zeros) {
      check.that(*run.zeros >= 0 && *run.zeros <= out.N, "zeros", "as many as fit the weight",
                 *run.zeros);
      check.that(run.width() <= out.K, "source", "no wider than the weight", run.width());
      add_copy(widen(run, out.K), run.encoded ? DType::f32 : run.source.dtype);
      rows.resize(rows.size() + static_cast<size_t>(*run.zeros));
      continue;
    }
    if (run.width() != out.K)
      fail(Code::shape, "pack: source must have rows of ", out.K, ", got ", run.width());
    for (int64_t i = 0; i < run.count; ++i) rows.push_back(run.source_row(i));
  }
  if (static_cast<int64_t>(rows.size()) != out.N)
    fail(Code::shape, "pack: source must have ", out.N, " rows, got ", rows.size());
  return rows;
}

}  // namespace

void pack(const CpuContext& cpu, const Weight& out, const std::vector<RowRun>& runs) {
  std::vector<std::vector<std::byte>> copies;
  const std::vector<SourceRow> rows = rows_of(cpu, runs, out, copies);
  const Packing& packing = packing_of(out, out.slot->device());
  const PanelGrid grid(out.N, out.gate_up);
  fill_panels(cpu, out, packing, [&](int64_t panel, std::byte* to) {
    SourceRow places[kPanel];
    for (int64_t place = 0; place < kPanel; ++place) {
      const int64_t row = grid.row_at(panel, place, packing.tile);
      if (row >= 0) places[place] = rows[static_cast<size_t>(row)];
    }
    packing.pack_panel(places, out.K, to);
  });
}

void fill_panels(const CpuContext& cpu, const Weight& out, const Packing& packing,
                 const std::function<void(int64_t, std::byte*)>& fill) {
  const size_t panel_bytes = packing.panel_bytes(out.K);
  const auto some = [&](int64_t first, int64_t count, std::byte* to) {
    cpu.parallel(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p)
        fill(first + p, to + static_cast<size_t>(p) * panel_bytes);
    });
  };
  out.slot->buffer->reserve_beside_others(std::max<size_t>(out.bytes(), 1));
  if (out.slot->on_host()) return some(0, PanelGrid(out.N, out.gate_up).panels, out.data());
  const auto pieces = [&](std::byte* to, size_t begin, size_t end) {
    some(static_cast<int64_t>(begin / panel_bytes),
         static_cast<int64_t>((end - begin) / panel_bytes), to);
  };
  out.slot->device()->stream(out.data(), out.bytes(), panel_bytes, pieces);
}

}  // namespace moe

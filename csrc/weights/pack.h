#pragma once

#include <vector>

#include "core/plan.h"
#include "core/tensor.h"

namespace moe {

/// Columns of one panel: four 512-bit, eight 256-bit or sixteen 128-bit vectors of f32.
constexpr int64_t kPanel = 64;

/// Geometry of a packed [N, K] weight.
///
/// Output rows are grouped in panels of 64. Inside a panel k runs slowest, so that a thread streams
/// one contiguous range: f32 stores a line of 64 values for each k; bf16 stores a line of 64 pairs
/// (k even in the low half, k odd in the high half) for each two k, which is what the dot-product
/// instructions take and what a shift and a mask turn into f32. Lines are 256 bytes in both.
/// Columns past N and an odd last k are zero.
///
/// `gate_up` weights are [2I, K], gate rows first. Their panel p holds gate rows 32p.. in columns
/// 0..31 and the matching up rows in columns 32..63, so SwiGLU needs one panel only.
struct PanelGrid {
  PanelGrid(int64_t n, int64_t k, DType dtype, Layout layout)
      : columns(layout == Layout::gate_up ? n / 2 : n),
        per_panel(layout == Layout::gate_up ? kPanel / 2 : kPanel),
        panels((columns + per_panel - 1) / per_panel),
        lines(dtype == DType::bf16 ? (k + 1) / 2 : k) {}

  int64_t columns;    // outputs: N, or I for gate_up
  int64_t per_panel;  // outputs of one panel
  int64_t panels;
  int64_t lines;  // 256-byte lines of one panel

  size_t panel_bytes() const { return static_cast<size_t>(lines) * 256; }
  size_t bytes() const { return panel_bytes() * static_cast<size_t>(panels); }
};

/// One row of a weight as it comes; may be unaligned.
struct SourceRow {
  const std::byte* data;  // null: padding
  DType dtype;
};

/// Element of a file: f32, bf16 or f16, at any address.
float load_float(const std::byte* at, DType dtype);

/// `count` rows of `source` from `start` on.
struct RowRun {
  Tensor source;  // [*, K] f32 | bf16 | f16, row-major; may be unaligned
  int64_t start;
  int64_t count;
};

/// Packs the rows of `runs`, in order, into `out` [N, K], whose dtype is f32 or bf16: in panels on
/// the host, as FragmentGrid says on a device.
/// Source rows are converted; f16 to f32 and bf16 to f32 exactly.
void pack(const CpuContext& cpu, Tensor& out, const std::vector<RowRun>& runs);

/// Copies a row-major tensor of the same shape and dtype; `source` is on the host.
void copy_rows(const Tensor& source, Tensor& out);

/// Widens `source` into f32 `out`, from element `at` on.
void copy_to_f32(const Tensor& source, Tensor& out, int64_t at);

/// One GPTQ linear layer as AutoGPTQ stores it (format `gptq`, zeros stored minus one).
struct Gptq {
  Tensor qweight;  // [in * bits / 32, out] i32, lowest bits first
  Tensor qzeros;   // [groups, out * bits / 32] i32
  Tensor scales;   // [groups, out] f16 | bf16 | f32
  Tensor g_idx;    // [in] i32
};

/// out[o, i] = scales[g_idx[i], o] * (q[i, o] - ((z[g_idx[i], o] + 1) mod 2^bits)), f32 or bf16
/// [out, in].
void dequantize(const CpuContext& cpu, const Gptq& source, int bits, Tensor& out);

/// Tells the system that the mapped pages of `source` will not be read again soon.
void release_pages(const Tensor& source);

}  // namespace moe

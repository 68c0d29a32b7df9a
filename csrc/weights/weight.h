#pragma once

#include <vector>

#include "core/fields.h"

namespace moe {

/// How a weight's values are stored. A format is its own files, a line here, and a line in the
/// tables of weights/format.cc and cpu/gemm_rows.cc.
enum class WeightFormat : uint8_t {
  f32,
  bf16,
  int8,       // one scale an output
  int8_g128,  // a scale for each 128 k
  int4_g32,
  int4_g128,
  int4_g32z,  // with zero points
  int4_g128z,
  mxfp4,
  fp8,       // one scale an output
  fp8_g128,  // a scale for each 128 k
};

/// A matrix that a GEMM multiplies with, [N, K] packed for the device it is on. Cheap to copy.
struct Weight {
  std::shared_ptr<Slot> slot;
  WeightFormat format = WeightFormat::f32;
  bool gate_up = false;  // [2I, K] for SwiGLU: gate rows, then up rows
  int64_t N = 0, K = 0;

  explicit operator bool() const { return slot != nullptr; }
  Shape shape() const { return {N, K}; }
  size_t bytes() const { return slot->bytes; }
  std::byte* data() const { return slot->data(); }
  /// A GPU's, in host memory that its kernels read over the bus.
  bool pinned() const { return slot->device() && slot->on_host(); }
};

/// Knows its bytes and takes them when it is filled, on the host or on `device`.
Weight make_weight(int64_t n, int64_t k, WeightFormat format, bool gate_up,
                   std::shared_ptr<Device> device);

/// Lets the weight, a GPU's and not filled, have pinned host memory instead of the GPU's.
void pin_weight(const Weight& weight);

class MappedFile;
/// Lets the weight, on the host and not filled, have the file's bytes from `offset` on as its own.
/// Throws Error{checkpoint} where they end behind the file or do not begin at a multiple of 64.
void map_weight(const Weight& weight, std::shared_ptr<MappedFile> file, int64_t offset);

/// For a plan: an op reads a weight where it is.
void add_access(std::vector<Access>& accesses, const Weight& weight, bool writes);
void add_access(std::vector<Access>& accesses, const std::vector<Weight>& weights, bool writes);

/// The memory as a list of its elements. Throws Error{unsupported} for formats that are more than
/// elements.
Tensor elements_of(const Weight& weight);

}  // namespace moe

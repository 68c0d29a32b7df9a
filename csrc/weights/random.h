#pragma once

#include "core/context.h"
#include "core/op.h"
#include "core/splitmix64.h"
#include "weights/weight.h"

namespace moe {

/// Uniform numbers in [mean - width, mean + width), a hash of seed and place. Equal on every
/// device, but for packed weights, whose places are elsewhere.
struct FillRandom {
  static constexpr const char* kName = "fill_random";

  Tensor out;     // f32 | bf16, row-major or the elements of a weight
  int64_t count;  // of its values
  float mean, width;
  uint64_t seed;

  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  constexpr float value(int64_t i) const { return value(i, mean, width, seed); }
  static constexpr float value(int64_t i, float mean, float width, uint64_t seed) {
    const uint64_t bits = splitmix64(seed, static_cast<uint64_t>(i));
    return mean + width * (static_cast<float>(bits >> 40) * 0x1p-23f - 1.f);
  }
};

/// Fills `out` with numbers of this mean and standard deviation, where it lives.
void fill_random(const CpuContext& cpu, Tensor& out, float mean, float deviation, uint64_t seed);

/// The same for a weight of any format; one that is more than elements takes mean 0 only.
void fill_random(const CpuContext& cpu, const Weight& out, float mean, float deviation,
                 uint64_t seed);

}  // namespace moe

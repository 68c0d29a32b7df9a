#include "weights/random.h"

#include "core/check.h"

namespace moe {
namespace {

uint64_t mix(uint64_t z) {  // splitmix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace

void fill_random(const CpuContext& cpu, Tensor& out, float mean, float scale, uint64_t seed) {
  const Check check("random");
  check.activation("out", out);
  const size_t bytes = tensor_bytes(out.shape, out.dtype, out.layout);
  out.slot->buffer->reserve(std::max<size_t>(bytes, 1));
  const auto count = static_cast<int64_t>(bytes / dtype_bytes(out.dtype));
  const float width = scale * 1.7320508f;  // of a uniform distribution with this deviation
  cpu.parallel((count + 4095) / 4096, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * 4096; i < std::min(end * 4096, count); ++i) {
      const uint64_t bits = mix(seed + 0x9e3779b97f4a7c15ull * static_cast<uint64_t>(i + 1));
      const float unit = static_cast<float>(bits >> 40) * 0x1p-23f - 1.f;  // [-1, 1)
      const float value = mean + width * unit;
      if (out.dtype == DType::f32)
        out.as<float>()[i] = value;
      else
        out.as<bf16>()[i] = to_bf16(value);
    }
  });
}

}  // namespace moe

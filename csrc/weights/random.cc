#include "weights/random.h"

#include "core/check.h"
#include "core/device.h"

namespace moe {

void FillRandom::run_cpu(const CpuContext& cpu) const {
  constexpr int64_t kPiece = 4096;
  cpu.parallel((count + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kPiece; i < std::min(end * kPiece, count); ++i) {
      if (out.dtype == DType::f32)
        out.as<float>()[i] = value(i);
      else
        out.as<bf16>()[i] = to_bf16(value(i));
    }
  });
}

void fill_random(const CpuContext& cpu, Tensor& out, float mean, float deviation, uint64_t seed) {
  Check("random").activation("out", out);
  Device* device = out.slot->device();
  out.slot->buffer->reserve(std::max<size_t>(out.slot->bytes, 1));
  const FillRandom op{out, out.shape.count(), mean,
                      deviation * 1.7320508f /* of a uniform distribution */, seed};
  if (!device) return op.run_cpu(cpu);
  device->run(device->kernel(FillRandom::kName), &op);
  device->synchronize();  // kernels may read weights before they wait for the one before them
}

}  // namespace moe

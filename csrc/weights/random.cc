#include "weights/random.h"

#include "core/check.h"
#include "core/device.h"
#include "weights/format.h"
#include "weights/pack.h"

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
  out.slot->take_memory();
  const FillRandom op{out, out.shape.count(), mean,
                      deviation * 1.7320508f /* of a uniform distribution */, seed};
  if (out.slot->on_host()) return op.run_cpu(cpu);
  Device* device = out.slot->device();
  device->run(device->kernel(FillRandom::kName), &op);
  device->synchronize();  // kernels may read weights before they wait for the one before them
}

void fill_random(const CpuContext& cpu, const Weight& out, float mean, float deviation,
                 uint64_t seed) {
  const Packing& packing = packing_of(out, out.slot->device());
  if (!packing.random_panel) {
    Tensor elements = elements_of(out);
    return fill_random(cpu, elements, mean, deviation, seed);
  }
  Check("random").that(mean == 0.f, "mean", "0 for a weight that is quantised", mean);
  fill_panels(cpu, out, packing, [&](int64_t p, std::byte* panel) {
    packing.random_panel(out.K, deviation, splitmix64(seed, static_cast<uint64_t>(p)), panel);
  });
}

}  // namespace moe

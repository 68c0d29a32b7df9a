#include "ops/patches.h"

#include "cpu/context.h"

namespace moe {
namespace {

template <class Pixel>
float value_of(Pixel pixel) {
  if constexpr (std::is_same_v<Pixel, uint8_t>)
    return static_cast<float>(pixel) / 127.5f - 1.f;
  else
    return pixel;
}

template <class Pixel, class Value>
void copy_patches(const Patches& op, int64_t begin, int64_t end) {
  const int64_t width = op.patch_width * op.images.dim(3);
  for (int64_t p = begin; p < end; ++p)
    for (int64_t y = 0; y < op.patch_height; ++y) {
      const Pixel* from = op.images.as<Pixel>() + op.source(p, y);
      Value* to = op.out.row<Value>(p) + y * width;
      for (int64_t i = 0; i < width; ++i) to[i] = from_float<Value>(value_of(from[i]));
    }
}

}  // namespace

void Patches::run_cpu(const CpuContext& cpu) const {
  dispatch_activation(dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(out.dim(0), 16, [&](int64_t begin, int64_t end) {
      if (images.dtype == DType::u8)
        copy_patches<uint8_t, Value>(*this, begin, end);
      else
        copy_patches<float, Value>(*this, begin, end);
    });
  });
}

}  // namespace moe

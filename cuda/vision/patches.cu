#include "device/rows.cuh"
#include "ops/patches.h"

namespace moe {
namespace {

template <class Pixel>
__device__ float value_of(Pixel pixel) {
  if constexpr (std::is_same_v<Pixel, uint8_t>)
    return static_cast<float>(pixel) / 127.5f - 1.f;
  else
    return pixel;
}

/// One block a patch.
template <class Pixel, class T>
__global__ void __launch_bounds__(256)
    patches(const Pixel* images, int height, int width, int channels, int patch_height,
            int patch_width, Rows<T> out) {
  wait_prior_grid();
  launch_dependents();
  const int rows = height / patch_height, columns = width / patch_width;
  const int p = static_cast<int>(blockIdx.x), line = patch_width * channels;
  const int b = p / (rows * columns), row = p / columns % rows, column = p % columns;
  for (int i = static_cast<int>(threadIdx.x); i < patch_height * line; i += 256) {
    const int64_t y = int64_t{b} * height + row * patch_height + i / line;
    out[p][i] =
        from_f32<T>(value_of(images[(y * width + column * patch_width) * channels + i % line]));
  }
}

}  // namespace

void Patches::run_cuda(const CudaContext& cuda) const {
  const auto launch = [&](auto pixel, auto tag) {
    using Pixel = decltype(pixel);
    using Value = decltype(tag);
    cuda.launch(patches<Pixel, Value>, blocks_for(out.dim(0), 1), 256, 0, images.as<const Pixel>(),
                static_cast<int>(images.dim(1)), static_cast<int>(images.dim(2)),
                static_cast<int>(images.dim(3)), static_cast<int>(patch_height),
                static_cast<int>(patch_width), rows_of<Value>(out));
  };
  dispatch_activation(dtype, kName, [&](auto tag) {
    if (images.dtype == DType::u8)
      launch(uint8_t{}, tag);
    else
      launch(float{}, tag);
  });
}

}  // namespace moe

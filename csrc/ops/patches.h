#pragma once

#include "core/op.h"

namespace moe {

/// The patches of images as rows (Vision Transformer, arXiv:2010.11929, section 3.1), in row-major
/// order, a pixel's channels innermost. Rows and columns of pixels that fill no patch are left out.
/// Bytes become value / 127.5 - 1, which is in [-1, 1].
struct Patches {
  static constexpr const char* kName = "patches";

  Tensor images;  // [B, height, width, channels] f32 | u8
  int64_t patch_height = 0;
  int64_t patch_width = 0;
  DType dtype = DType::f32;  // f32 | bf16
  Tensor out;                // [B * patches, patchHeight * patchWidth * channels] dtype

  static constexpr auto fields() {
    return std::tuple(input("images", &Patches::images),
                      value("patchHeight", &Patches::patch_height),
                      value("patchWidth", &Patches::patch_width), setting("dtype", &Patches::dtype),
                      output("out", &Patches::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("images", images, 4);
    check.dtype("images", images, {DType::f32, DType::u8});
    check.that(patch_height >= 1 && patch_height <= images.dim(1), "patchHeight",
               "from 1 to the images' height", patch_height);
    check.that(patch_width >= 1 && patch_width <= images.dim(2), "patchWidth",
               "from 1 to the images' width", patch_width);
    check.activation("dtype", dtype);
  }
  void make_outputs(const Make& make) {
    const int64_t count = (images.dim(1) / patch_height) * (images.dim(2) / patch_width);
    out = make({images.dim(0) * count, patch_height * patch_width * images.dim(3)}, dtype);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  /// Where the values of a row of patch `index` begin in the images, of its pixel row `y`.
  int64_t source(int64_t index, int64_t y) const {
    const int64_t rows = images.dim(1) / patch_height, columns = images.dim(2) / patch_width;
    const int64_t b = index / (rows * columns), row = index / columns % rows;
    return ((b * images.dim(1) + row * patch_height + y) * images.dim(2) +
            index % columns * patch_width) *
           images.dim(3);
  }
};

}  // namespace moe

#pragma once

#include "core/op.h"

namespace moe {

/// The tokens of images: a class token in front, if there is one, and positions added
/// (arXiv:2010.11929, equation 1).
///
///   out[b, n] = (n == 0 ? classToken : patches[b, n - 1]) + positions[n]
///
/// and without a class token patches[b, n] + positions[n].
struct ImageTokens {
  static constexpr const char* kName = "imageTokens";

  Tensor patches;      // [B * P, H] f32
  Tensor class_token;  // [H] f32
  Tensor positions;    // [N, H] f32
  int64_t images = 0;  // B
  Tensor out;          // [B * N, H] f32, N = P, and one more with a class token

  static constexpr auto fields() {
    return std::tuple(input("patches", &ImageTokens::patches),
                      optional("classToken", &ImageTokens::class_token),
                      optional("positions", &ImageTokens::positions),
                      value("images", &ImageTokens::images), output("out", &ImageTokens::out));
  }
  int64_t tokens() const {
    return images == 0 ? 0 : patches.dim(0) / images + (class_token ? 1 : 0);
  }
  void check() const {
    const Check check(kName);
    check.rank("patches", patches, 2);
    check.dtype("patches", patches, {DType::f32});
    check.that(images >= 0 && (images == 0 ? patches.dim(0) == 0 : patches.dim(0) % images == 0),
               "images", "a divisor of the number of patches", images);
    if (class_token) {
      check.shape("classToken", class_token, {patches.dim(1)});
      check.dtype("classToken", class_token, {DType::f32});
    }
    if (positions) {
      check.shape("positions", positions, {tokens(), patches.dim(1)});
      check.dtype("positions", positions, {DType::f32});
    }
  }
  void make_outputs(const Make& make) {
    out = make({images * tokens(), patches.dim(1)}, DType::f32);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe

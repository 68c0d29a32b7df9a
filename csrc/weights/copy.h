#pragma once

#include "core/tensor.h"

namespace moe {

/// Copies a row-major tensor of the same shape and dtype; `source` is on the host.
void copy_rows(const Tensor& source, Tensor& out);

/// Widens `source` into f32 `out`, from element `at` on.
void copy_to_f32(const Tensor& source, Tensor& out, int64_t at);

/// After reading: throws when the file changed meanwhile. Tells the system that the mapped pages of
/// `source` will not be read again soon.
void release_pages(const Tensor& source);

}  // namespace moe

#pragma once

#include <vector>

#include "weights/row_run.h"

namespace moe {

/// Copies a row-major tensor of the same shape and dtype; `source` is on the host.
void copy_rows(const Tensor& source, Tensor& out);

/// The rows of `runs`, one behind the other, widened to f32 and multiplied by `scale`.
void copy_to_f32(const std::vector<RowRun>& runs, Tensor& out, float scale);

/// After reading: throws when the file changed meanwhile. Tells the system that the mapped pages of
/// `source` will not be read again soon.
void release_pages(const Tensor& source);

}  // namespace moe

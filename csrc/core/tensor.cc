#include "core/tensor.h"

#include "weights/fragments.h"

namespace moe {

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < rank_; ++i) out += (i ? ", " : "") + std::to_string(dims_[i]);
  return out + "]";
}

size_t tensor_bytes(const Shape& shape, DType dtype, Layout layout, const Device* device) {
  if (layout == Layout::rows) return static_cast<size_t>(shape.count()) * dtype_bytes(dtype);
  if (device) return FragmentGrid(shape[0], shape[1], layout).bytes(dtype);
  return PanelGrid(shape[0], shape[1], dtype, layout).bytes();
}

Tensor make_tensor(const Shape& shape, DType dtype, Layout layout, std::shared_ptr<Device> device) {
  Tensor tensor;
  tensor.slot = std::make_shared<Slot>();
  tensor.slot->bytes = tensor_bytes(shape, dtype, layout, device.get());
  tensor.slot->buffer =
      std::make_shared<Buffer>(std::max<size_t>(tensor.slot->bytes, 1), std::move(device));
  tensor.dtype = dtype;
  tensor.layout = layout;
  tensor.shape = shape;
  tensor.row_stride = tensor.last();
  return tensor;
}

}  // namespace moe
